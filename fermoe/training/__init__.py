"""How is a run made, and how is it read again?"""
