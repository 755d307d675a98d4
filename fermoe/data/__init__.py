"""Which images are there, and what does the network see of them?"""
