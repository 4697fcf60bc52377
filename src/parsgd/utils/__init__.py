"""Helpers that know nothing of models, algorithms or engines."""
