"""A job: what is to be done with one picture, and how that ended."""
