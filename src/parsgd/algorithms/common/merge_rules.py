"""The merge rules by name, each as a function of what the driver knows: where the fit stands, and the reports.

All give weights ``(n_reports,)`` on the moves ``w_i - w`` from ``standing.state``, for :func:`merging.merge`.

>>> from parsgd.core import FitState
>>> from parsgd.testing.contracts._fixtures import small_model, small_report
>>> reports = [small_report(worker, np.ones(6)) for worker in range(2)]
>>> RULES["steps"](FitState(small_model(), np.zeros(6)), reports)
array([0.5, 0.5])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.learned_weights import learn_weights
from parsgd.core import FitState, Report

Rule = Callable[[FitState, Sequence[Report]], np.ndarray]


def _steps(reports: Sequence[Report]) -> np.ndarray:
    return np.array([report.steps for report in reports])


def _wp(standing: FitState, reports: Sequence[Report]) -> np.ndarray:
    return merge_weights.wp_sgd(np.array([report.log_contraction for report in reports]), _steps(reports))


def _loss(standing: FitState, reports: Sequence[Report]) -> np.ndarray:
    """By the losses that the workers met on their own way."""
    total = standing.model.total_loss
    losses = np.array([total(report.loss) / max(report.examples, 1) for report in reports])
    return merge_weights.inverse_loss(losses, _steps(reports))


def _fednova(standing: FitState, reports: Sequence[Report]) -> np.ndarray:
    """Momentum is not asked for: it is merged and goes on from round to round, so that moves grow as the steps do."""
    rows = standing.shard_rows
    shares = np.array([float(rows[report.worker]) if rows else 1.0 for report in reports])
    return merge_weights.fednova(_steps(reports), shares)


def _learned(standing: FitState, reports: Sequence[Report]) -> np.ndarray:
    by_steps = merge_weights.by_steps(_steps(reports))
    if standing.sample is None:
        return by_steps
    states = [report.state for report in reports]
    return learn_weights(standing.model, standing.sample, standing.state, states, by_steps)


RULES: dict[str, Rule] = {
    "uniform": lambda standing, reports: merge_weights.uniform(_steps(reports)),
    "examples": lambda standing, reports: merge_weights.by_examples([report.examples for report in reports]),
    "steps": lambda standing, reports: merge_weights.by_steps(_steps(reports)),
    "wp": _wp,
    "fednova": _fednova,
    "loss": _loss,
    "learned": _learned,
}
# Rules that look at a sample of the rows.
LOOKING = frozenset({"learned"})
