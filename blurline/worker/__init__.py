"""A worker process: threads that take jobs, and what keeps the queues and the store in order."""
