"""Defaults shared by most models, algorithms and engines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from parsgd.core.costs import CostModel
from parsgd.core.engine_protocols import Engine
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


class EngineDefaults:
    """Base class with the defaults of an engine that runs any number of workers on this machine.

    A subclass defines ``name``, ``capabilities`` and ``open``, and overrides the defaults that it changes.  See
    :class:`~parsgd.core.Engine` for each member.
    """

    in_calling_thread: bool = False
    on_cluster: bool = False

    @property
    def n_workers(self) -> int | None:
        return None

    def default_workers(self) -> int:
        # imported here, because worker processes import this module and need no joblib
        import joblib

        return joblib.cpu_count()

    def message_costs(self, n_parameters: int) -> tuple[float, float] | None:
        return None

    def costs(self, n_rows: int, n_parameters: int) -> CostModel | None:
        return None


class EngineWrapper:
    """Base class of an engine that answers as the engine that it wraps, but has no cost model.

    A subclass defines ``name`` and ``open``, and overrides what it changes.
    """

    engine: Engine
    in_calling_thread: bool = False

    @property
    def capabilities(self) -> frozenset[str]:
        return self.engine.capabilities

    @property
    def n_workers(self) -> int | None:
        return self.engine.n_workers

    @property
    def on_cluster(self) -> bool:
        return self.engine.on_cluster

    def default_workers(self) -> int:
        return self.engine.default_workers()

    def message_costs(self, n_parameters: int) -> tuple[float, float] | None:
        return self.engine.message_costs(n_parameters)

    def costs(self, n_rows: int, n_parameters: int) -> CostModel | None:
        return None


class _NoProgress:
    """A progress callback that reports nothing and continues."""

    halted = False

    def __call__(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        return True


# The progress callback of work without an observer.
no_progress: _NoProgress = _NoProgress()
