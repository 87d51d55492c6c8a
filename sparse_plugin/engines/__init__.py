"""Engines: where the runs of a grid or a race are performed. All state is in the runs' directories; an engine places runs."""
