"""Costs of a fit: the record that engines and estimators exchange."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CostModel:
    """Costs of computation and communication in seconds; see :mod:`parsgd.training.cost_model` for the formula.

    ``contention``, ``wake_s`` and ``compiled_round_s`` have an entry for each number of threads up to the number of
    cores; more workers run on a cluster.  ``compiled_round_s``: a round inside compiled code, its merge included; an
    algorithm that plans its rounds makes such rounds.  ``start_s``: to start the threads of a fit.  ``merge_s``: of the
    cluster's driver per report; None: the time of a merge on this machine.

    >>> costs = CostModel(1000, 1e-6, contention={2: 1.1}, wake_s={2: 2e-4}, latency_s=1e-3)
    >>> costs.pass_s, costs.on_threads(2), costs.on_threads(8)
    (0.001, True, False)
    """

    n_rows: int
    seconds_per_row: float
    state_bytes: int = 0
    contention: Mapping[int, float] = field(default_factory=dict[int, float])
    wake_s: Mapping[int, float] = field(default_factory=dict[int, float])
    compiled_round_s: Mapping[int, float] = field(default_factory=dict[int, float])
    start_s: float = 0.0
    latency_s: float = 0.0
    bandwidth_bytes_per_s: float = math.inf
    merge_s: float | None = None

    @property
    def pass_s(self) -> float:
        """Seconds per pass over the rows with one worker."""
        return self.n_rows * self.seconds_per_row

    def on_threads(self, n_workers: int) -> bool:
        """Return True if ``n_workers`` workers run as threads of this machine."""
        return n_workers == 1 or any(
            n_workers in known for known in (self.contention, self.wake_s, self.compiled_round_s)
        )
