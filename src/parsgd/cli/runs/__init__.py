"""Implementation of each command, imported only when the command runs, so that ``--help`` loads no NumPy."""
