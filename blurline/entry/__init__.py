"""What processes are started by: `blurline.entry.api:app` and `python -m blurline.entry.worker`."""
