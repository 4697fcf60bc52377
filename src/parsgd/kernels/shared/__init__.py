"""Kernels of workers that step on one set of weights at the same time (Hogwild)."""
