"""Checks of parameters, arrays and fitted attributes."""
