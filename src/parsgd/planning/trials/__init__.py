"""Short trial fits from which the planner and the automatic choice measure."""
