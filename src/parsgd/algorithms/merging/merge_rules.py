"""Merge rules by name, each a function of the fit state and the reports.

Every rule returns weights ``(n_reports,)`` on the displacements ``w_i - w`` from ``fit_state.state``, for
:func:`parsgd.algorithms.merging.merge_weights.merge`.  The rules per coordinate have a merge of their own
(:mod:`parsgd.algorithms.merging.coordinate_merge`); their weights are for the history.

>>> from parsgd.core import FitState
>>> from parsgd.testing.contracts._fixtures import small_model, small_report
>>> reports = [small_report(worker, np.ones(6)) for worker in range(2)]
>>> RULES["steps"](FitState(small_model(), np.zeros(6)), reports)
array([0.5, 0.5])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from parsgd.algorithms.merging import coordinate_merge, merge_weights
from parsgd.algorithms.merging.learned_weights import learn_weights
from parsgd.core import FitState, MergeResult, Report, has_averaging

Rule = Callable[[FitState, Sequence[Report]], np.ndarray]


def _steps(reports: Sequence[Report]) -> np.ndarray:
    return np.array([report.steps for report in reports])


def _wp(fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
    return merge_weights.wp_sgd(np.array([report.log_contraction for report in reports]), _steps(reports))


def _loss(fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
    """Return weights from the mean losses that the workers measured during their runs."""
    total = fit_state.model.total_loss
    losses = np.array([total(report.loss) / max(report.examples, 1) for report in reports])
    return merge_weights.inverse_loss(losses, _steps(reports))


def _fednova(fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
    """Return FedNova's weights without momentum: the merged momentum persists, so displacements grow with the steps."""
    rows = fit_state.shard_rows
    shares = np.array([float(rows[report.worker]) if rows else 1.0 for report in reports])
    return merge_weights.fednova(_steps(reports), shares)


def _learned(fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
    by_steps = merge_weights.by_steps(_steps(reports))
    if fit_state.sample is None or not has_averaging(fit_state.model):
        return by_steps
    states = [report.state for report in reports]
    return learn_weights(fit_state.model, fit_state.sample, fit_state.state, states, by_steps)


RULES: dict[str, Rule] = {
    "uniform": lambda fit_state, reports: merge_weights.uniform(_steps(reports)),
    "examples": lambda fit_state, reports: merge_weights.by_examples([report.examples for report in reports]),
    "tokens": lambda fit_state, reports: merge_weights.by_examples([r.tokens or r.examples for r in reports]),
    "steps": lambda fit_state, reports: merge_weights.by_steps(_steps(reports)),
    "wp": _wp,
    "fednova": _fednova,
    "loss": _loss,
    "learned": _learned,
    "coordinate": lambda fit_state, reports: coordinate_merge.shares(reports, once=False),
    "touched": lambda fit_state, reports: coordinate_merge.shares(reports, once=True),
}
# Rules that need probe rows, and rules that need a model with the capability "averaging".
PROBE_ROW_RULES = frozenset({"learned"})
# Rules whose merges can be planned (AlgorithmTraits.planned).
PLANNED_RULES = {
    "uniform": "mean",
    "steps": "mean",
    "examples": "mean",
    "coordinate": "coordinate",
    "touched": "touched",
}
AVERAGING_RULES = frozenset({"wp", "learned"})
# Rules per coordinate, which need visits in the reports and a model with the capability "features".
COORDINATE_RULES = ("coordinate", "touched")


def required_by_rule(rule: str) -> frozenset[str]:
    """Return the capabilities that a merge rule requires.

    >>> required_by_rule("wp"), required_by_rule("steps")
    (frozenset({'averaging'}), frozenset())
    """
    if rule in COORDINATE_RULES:
        return frozenset({"features"})
    return frozenset({"averaging"}) if rule in AVERAGING_RULES else frozenset()


def merge_by_rule(rule: str, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
    """Return the state that a rule merges the reports into, and their weights.

    >>> from parsgd.core import FitState
    >>> from parsgd.testing.contracts._fixtures import small_model, small_report
    >>> reports = [small_report(worker, np.full(6, 1.0 + worker)) for worker in range(2)]
    >>> merge_by_rule("steps", FitState(small_model(), np.zeros(6)), reports).state
    array([1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
    """
    if rule in COORDINATE_RULES:
        return coordinate_merge.merge(fit_state, reports, once=rule == "touched")
    return merge_weights.merge(fit_state.state, reports, RULES[rule](fit_state, reports), fit_state.model.nonnegative)
