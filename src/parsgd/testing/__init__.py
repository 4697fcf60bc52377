"""Contract suites for each axis, problems with a known optimum, and faults to inject: for our tests and for yours."""
