"""The whole service on one machine: embedded Valkey, API and workers as child processes."""
