"""Readers of file formats and tables."""
