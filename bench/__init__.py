"""The benchmark: the whole service on one machine against the bare networks, in one run."""
