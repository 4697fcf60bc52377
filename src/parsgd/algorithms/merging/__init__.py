"""Merge rules: from the reports of a round to the next state."""
