"""Reports of jobs' ends: where to, what waits to be sent, and the sending."""
