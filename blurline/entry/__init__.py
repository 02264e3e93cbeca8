"""What processes are started by: `api:app`, and `worker` and `upkeep` by `python -m`."""
