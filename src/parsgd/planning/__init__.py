"""Planning: predict the benefit of parallel workers before a fit; see :mod:`parsgd.planning.planner`."""
