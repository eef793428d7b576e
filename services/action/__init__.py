"""What each track does, from when to when."""
