"""Defaults shared by most models, algorithms and engines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from parsgd.core.model_protocols import Model
from parsgd.core.records import AlgorithmTraits, FitState
from parsgd.core.sgd_run import RunningLoss


class PlainModel:
    """Base class with the defaults of a model that offers only the core members, with one output.

    A subclass defines ``init`` and ``sgd_run``, and overrides the defaults that it changes.  See
    :class:`~parsgd.core.Model` for each member.
    """

    n_outputs: int = 1
    batch_size: int = 1
    uses_blas: bool = False
    nonnegative: slice = slice(0, 0)
    divergence: str = ""
    capabilities: frozenset[str] = frozenset()
    unavailable: Mapping[str, str] = MappingProxyType({})

    def finite(self, state: np.ndarray) -> bool:
        return bool(np.isfinite(state).all())

    def total_loss(self, losses: np.ndarray) -> float:
        return float(losses.sum())


class SynchronousAlgorithm:
    """Base class with the defaults of a synchronous algorithm.

    All workers start from the current state, the driver waits for all of them, and no capability is required.  A
    subclass defines ``name``, ``next_task``, ``run`` and ``merge``, and overrides the defaults that it changes.  See
    :class:`~parsgd.core.Algorithm` for each member.
    """

    @property
    def traits(self) -> AlgorithmTraits:
        return _SYNCHRONOUS

    def n_probe_rows(self, n_rows: int) -> int:
        return 0

    def rows_per_step(self, model: Model) -> int:
        return model.batch_size

    def init_memory(self, fit_state: FitState) -> Any:
        return None

    def quorum(self, n_workers: int) -> int:
        return n_workers


_SYNCHRONOUS = AlgorithmTraits()


def no_progress(worker: int, examples: int, sgd_run: RunningLoss) -> bool:
    """Report nothing and continue: the progress callback of an engine without a connection to its driver."""
    return True
