"""Making a region of a picture unreadable."""
