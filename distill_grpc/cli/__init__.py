"""The `distill` command: runs the service, and talks to it."""
