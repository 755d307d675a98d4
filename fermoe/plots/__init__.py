"""What does it look like? One module for every module of evidence, and one look for all of them."""
