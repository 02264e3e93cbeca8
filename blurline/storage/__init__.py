"""Where pictures and records are kept."""
