"""Engines: the places where workers run."""
