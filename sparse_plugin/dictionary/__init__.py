"""D1 as a convolutional dictionary: its atoms, and what shifted copies of them have in common."""
