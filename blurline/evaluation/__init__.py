"""Measuring: how much of what must not be seen is redacted, and how well objects are detected."""
