"""Progress while a fit runs: on a terminal, in a notebook, as lines."""
