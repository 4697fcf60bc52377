"""Compilation, calls by address, and machine-level operations that kernels build on."""
