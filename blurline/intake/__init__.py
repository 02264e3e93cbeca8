"""Taking pictures in: known again or not, stored, then queued."""
