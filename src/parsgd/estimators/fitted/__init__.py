"""Fitted attributes: creation, transactions, pickles and checkpoints."""
