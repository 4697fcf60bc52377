"""Helpers independent of models, algorithms and engines."""
