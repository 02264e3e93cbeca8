"""The stages of a pipeline and what passes between them."""
