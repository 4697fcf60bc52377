"""HTML report about a fit: data, score, speedup estimate, use of time, and the command to repeat it."""
