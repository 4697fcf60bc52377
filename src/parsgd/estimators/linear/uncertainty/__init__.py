"""Standard errors and intervals of linear models."""
