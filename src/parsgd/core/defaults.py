"""Defaults that most algorithms and engines share."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.core.protocols import SGDRun
from parsgd.core.records import FitState


class SynchronousAlgorithm:
    """What most algorithms have in common: nothing special is needed, all workers set out from the same state and all
    are waited for.  An algorithm that does otherwise says so in its own file."""

    requires: frozenset[str] = frozenset()
    partition = "shuffled"
    message = "state"
    one_shot = False
    common_clock = False
    ordered = False
    holds_out = False
    # whether its work never reads the task's state after the run, so that a worker alone may write to it
    frees_start = False

    def n_probe_rows(self, n_rows: int) -> int:
        return 0

    def init_memory(self, standing: FitState) -> Any:
        return None

    def start_state(self, standing: FitState, worker: int) -> np.ndarray:
        return standing.state

    def lr_factor(self, standing: FitState) -> float:
        return 1.0

    def schedule_step_size(self, n_workers: int) -> float:
        return 1.0

    def shard_fractions(self, standing: FitState) -> np.ndarray | None:
        return None

    def quorum(self, n_workers: int) -> int:
        return n_workers


def no_progress(worker: int, examples: int, sgd_run: SGDRun) -> bool:
    """The pulse of an engine that has no line back to its driver: nothing is told, and the worker goes on."""
    return True
