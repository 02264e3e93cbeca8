"""The queue between API and workers: rq on Redis."""
