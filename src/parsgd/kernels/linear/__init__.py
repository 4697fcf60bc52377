"""Compiled SGD steps of linear models."""
