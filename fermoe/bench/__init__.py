"""How fast is it on this machine?"""
