"""How do I use a trained network?"""
