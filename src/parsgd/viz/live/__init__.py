"""Display of progress during a fit: on a terminal, in a notebook, or as log lines."""
