"""What is the network, and why is it fast?"""
