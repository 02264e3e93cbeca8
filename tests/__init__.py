"""Tests, named after what the service promises, with the real parts that it runs on."""
