"""Picture files: which kind they are, their pixels, and the way back into a file."""
