"""The catalogue of networks, their files in the cache, and the way from a file to a detector."""
