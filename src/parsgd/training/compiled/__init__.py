"""Rounds of a fit inside compiled code: their plan, and their record in the fit."""
