"""What parallel work would bring, found out before it is begun; see :mod:`parsgd.planning.planner`."""
