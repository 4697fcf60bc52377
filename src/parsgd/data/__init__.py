"""Data that are read while they are trained on: formats, columns, and what users hold, a :class:`Dataset`."""
