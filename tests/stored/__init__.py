"""What an earlier release has left behind: its store, its keys, and all that it had in Redis."""
