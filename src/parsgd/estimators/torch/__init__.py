"""Training of PyTorch modules."""
