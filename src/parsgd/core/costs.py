"""Costs of a fit: the record that engines and estimators exchange."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CostModel:
    """Costs of computation and communication in seconds; see :mod:`parsgd.training.cost_model` for the formula.

    ``contention`` and ``wake_s`` have an entry for each number of threads up to the number of cores; more workers run
    on a cluster.  ``merge_s`` is the cluster driver's time per report; None: the time of a merge on this machine.

    >>> costs = CostModel(1000, 1e-6, contention={2: 1.1}, wake_s={2: 2e-4}, latency_s=1e-3)
    >>> costs.pass_s, costs.on_threads(2), costs.on_threads(8)
    (0.001, True, False)
    """

    n_rows: int
    seconds_per_row: float
    state_bytes: int = 0
    contention: Mapping[int, float] = field(default_factory=dict[int, float])
    wake_s: Mapping[int, float] = field(default_factory=dict[int, float])
    latency_s: float = 0.0
    bandwidth_bytes_per_s: float = math.inf
    merge_s: float | None = None

    @property
    def pass_s(self) -> float:
        """Seconds per pass over the rows with one worker."""
        return self.n_rows * self.seconds_per_row

    def on_threads(self, n_workers: int) -> bool:
        """Return True if ``n_workers`` workers run as threads of this machine."""
        return n_workers == 1 or n_workers in self.wake_s
