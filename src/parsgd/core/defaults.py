"""Defaults shared by most algorithms and engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.core.costs import CostModel
from parsgd.core.engine_protocols import RunningLoss
from parsgd.core.records import FitState


class SynchronousAlgorithm:
    """Base class with the defaults of a synchronous algorithm.

    All workers start from the current state, the driver waits for all of them, and no capability is required.  A
    subclass defines ``name``, ``budget``, ``run`` and ``merge``, and overrides the defaults that it changes.  See
    :class:`~parsgd.core.Algorithm` for each member.

    ``may_overwrite_start`` is True if ``run`` never reads the task's state after the SGD run has started.  A fit with
    one worker may then run on that array itself instead of a copy.
    """

    requires: frozenset[str] = frozenset()
    partition = "shuffled"
    message = "state"
    one_shot = False
    common_clock = False
    ordered = False
    holds_out = False
    may_overwrite_start = False

    def n_probe_rows(self, n_rows: int) -> int:
        return 0

    def init_memory(self, fit_state: FitState) -> Any:
        return None

    def start_state(self, fit_state: FitState, worker: int) -> np.ndarray:
        return fit_state.state

    def lr_factor(self, fit_state: FitState) -> float:
        return 1.0

    def schedule_step_size(self, n_workers: int) -> float:
        return 1.0

    def shard_fractions(self, fit_state: FitState) -> np.ndarray | None:
        return None

    def quorum(self, n_workers: int) -> int:
        return n_workers


class EngineDefaults:
    """Base class with the defaults of an engine that runs any number of workers on this machine.

    A subclass defines ``name``, ``capabilities`` and ``open``, and overrides the defaults that it changes.  See
    :class:`~parsgd.core.Engine` for each member.
    """

    n_workers: int | None = None
    in_calling_thread: bool = False
    on_cluster: bool = False

    def default_workers(self) -> int:
        # imported here, because worker processes import this module and need no joblib
        import joblib

        return joblib.cpu_count()

    def message_costs(self, n_parameters: int) -> tuple[float, float] | None:
        return None

    def costs(self, n_rows: int, n_parameters: int) -> CostModel | None:
        return None


class _NoProgress:
    """A progress callback that reports nothing and continues."""

    halted = False

    def __call__(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        return True


# The progress callback of work without an observer.
no_progress = _NoProgress()
