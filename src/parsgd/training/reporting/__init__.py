"""History and progress of a fit."""
