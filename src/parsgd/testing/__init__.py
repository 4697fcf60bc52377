"""Contract suites for each axis, random test data, and fault injection."""

from parsgd.testing.contracts import check_algorithm, check_engine, check_model, check_source
from parsgd.testing.faults import slow_down

__all__ = ["check_algorithm", "check_engine", "check_model", "check_source", "slow_down"]
