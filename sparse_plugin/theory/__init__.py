"""What the theory of convolutional sparse coding says of a dictionary and its representations, and what of it holds."""
