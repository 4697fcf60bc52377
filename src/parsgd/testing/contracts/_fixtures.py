"""Small reports, models and sources for the contract suites."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parsgd.core import Report
from parsgd.data.sources.array_source import ArraySource
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of


def small_report(worker: int, state: np.ndarray, round: int = 0) -> Report:
    zero = np.zeros(1)
    return Report(worker, round, state, 10, 10, zero, zero, 0.1, 11.0, np.ones(1), log_contraction=-0.1)


def small_model() -> Linear:
    return Linear(5, loss="log_loss", alpha=0.01, eta0=0.1, schedule="constant")


@dataclass(frozen=True)
class RecordingSource(ArraySource):
    """An array source that records the number of workers of each division of its rows."""

    splits: list[int] = field(default_factory=list)

    def split(self, n_workers: int, *arguments: Any, **settings: Any) -> Any:
        self.splits.append(n_workers)
        return super().split(n_workers, *arguments, **settings)


def small_source(n_rows: int = 61) -> RecordingSource:
    X = unit_rows(n_rows, 5)
    return RecordingSource(rows_of(X, 2.0 * labels(X) - 1.0))
