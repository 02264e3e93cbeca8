"""`make load-test`: k6 and locust against the whole service, and an account of every job."""
