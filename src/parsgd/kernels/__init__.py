"""Compiled code: losses, row operations, learning-rate schedules, SGD runs.  Arrays and scalars in, arrays and scalars
out.

Most modules here import Numba, so the rest of parsgd imports them at the first fit, not before.
"""
