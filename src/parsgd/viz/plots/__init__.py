"""Plots of a fit by matplotlib; the public module is :mod:`parsgd.plotting`."""
