"""Training of the project's own networks. Needs the extra `torch`; nothing here is installed."""
