"""Contract suites: tests of a model, an algorithm, an engine or a source against its protocol.

Each function runs a component on small data and raises AssertionError with a sentence on the violated requirement.

>>> from parsgd import LocalSGD
>>> from parsgd.engines.threads import Threads
>>> check_algorithm(LocalSGD(sync_every=0.5))
>>> check_engine(Threads())
"""

from parsgd.testing.contracts.algorithms import check_algorithm
from parsgd.testing.contracts.engines import check_engine
from parsgd.testing.contracts.models import check_model
from parsgd.testing.contracts.sources import check_source

__all__ = ["check_algorithm", "check_engine", "check_model", "check_source"]
