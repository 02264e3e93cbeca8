"""What the Makefile runs on the project itself."""
