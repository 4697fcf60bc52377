"""Compiled code on arrays and scalars: losses, row operations, learning-rate schedules, SGD runs.

Most modules here import Numba, so the rest of parsgd imports them at the first fit, not before.
"""
