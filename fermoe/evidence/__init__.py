"""What do the finished runs show? One module for every CSV."""
