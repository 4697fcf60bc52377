"""Compiled SGD of many linear models at once."""
