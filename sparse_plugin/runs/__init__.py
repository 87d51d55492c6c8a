"""A run directory: its lease, checkpoints, seeds, environment, what a method is called."""
