"""Streaming data: formats, columns, sources, and the user-facing :class:`Dataset`."""
