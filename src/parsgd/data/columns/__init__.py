"""Columns: their declaration, statistics and encoding."""
