"""Compiled code: losses, rows, schedules and runs of SGD steps.  Arrays and scalars in, arrays and scalars out.

Importing this package imports numba, so nothing above it does so before the first fit.
"""
