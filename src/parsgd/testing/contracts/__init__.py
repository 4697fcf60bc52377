"""Contract suites: does a model, an algorithm, an engine or a source keep its promises?

Each function takes a part, yours or ours, tries it on small data and raises AssertionError with a sentence that says
which promise is broken.

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
