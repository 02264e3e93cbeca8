"""Certificates: what was done to a picture, signed so that a change of either one shows."""
