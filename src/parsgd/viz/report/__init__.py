"""A page about a run: what was trained, how good it is, whether parallel work was worth it, and how to repeat it."""
