"""Estimators that fit all settings of a search at once."""
