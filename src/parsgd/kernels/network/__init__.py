"""Compiled SGD steps of feed-forward networks."""
