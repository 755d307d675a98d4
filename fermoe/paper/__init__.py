"""What is claimed, and what decides it?"""
