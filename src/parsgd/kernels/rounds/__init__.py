"""Rounds of several workers inside compiled code: barrier, merge, and the runs between two merges."""
