"""Merge per coordinate: each worker's weight on a feature is its share of the visits of that feature.

With the start state ``w``, the workers' states ``w_i``, and the number ``c_ij`` of rows visited by worker i in which
feature j is not zero::

    v_j = w_j + sum_i c_ij (w_ij - w_j) / sum_i c_ij

``once`` counts 1 for a worker with any visit.  If every row has every feature, v is the mean weighted by examples.  A
feature that only one worker visited takes this worker's whole displacement, so that disjoint displacements are summed.
A worker that visited more rows has a larger weight, coordinate by coordinate.

- A feature that no worker visited takes the mean weighted by examples: a penalty moves it on every worker.
- So do the values without a feature: intercepts, and all layers of a network but the first.
- AdaGrad's sums of squares are added: ``G + sum_i (G_i - G)``.

FedSubAvg (Ding et al., "Federated Submodel Optimization for Hot and Cold Data Features", NeurIPS 2022) divides by the
number of clients with a feature; ``once`` is our reading of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.core import FeatureModel, FitState, MergeResult, Report, has_features
from parsgd.utils import first_use
from parsgd.utils.tree_reduce import weighted_sum

# Values per block: small enough for the second-level cache.
_BLOCK = 1 << 14


def shares(reports: Sequence[Report], once: bool) -> np.ndarray:
    """Return each worker's share of all visits, or of all visited features with ``once``.

    Reports without visits, or with none of any feature, have weights by examples.

    >>> from dataclasses import replace
    >>> from parsgd.testing.contracts._fixtures import small_report
    >>> visits = np.array([9, 0, 0]), np.array([1, 1, 1])
    >>> reports = [replace(small_report(i, np.ones(4)), visits=count) for i, count in enumerate(visits)]
    >>> shares(reports, once=False), shares(reports, once=True)
    (array([0.75, 0.25]), array([0.25, 0.75]))
    """
    by_examples = merge_weights.by_examples([report.examples if report.steps else 0 for report in reports])
    counts: list[float] = []
    for report in reports:
        if report.visits is None:
            return by_examples
        visits = report.visits if report.steps else report.visits[:0]
        counts.append(float(np.count_nonzero(visits) if once else visits.sum(dtype=np.float64)))
    return merge_weights.by_examples(counts) if any(counts) else by_examples


def merge(fit_state: FitState, reports: Sequence[Report], once: bool) -> MergeResult:
    """Merge reports per coordinate.

    The state of a single worker that moved comes back bit for bit.  A report without visits counts as one whose
    examples have every feature.

    >>> from dataclasses import replace
    >>> from parsgd.testing.contracts._fixtures import small_model, small_report
    >>> arrived = np.array([3.0, 0.0, 3.0, 0.0, 0.0, 3.0]), np.array([0.0, 6.0, 6.0, 0.0, 0.0, 6.0])
    >>> visits = np.array([5, 0, 2, 0, 0]), np.array([0, 5, 1, 0, 0])
    >>> reports = [replace(small_report(i, arrived[i]), visits=visits[i]) for i in range(2)]
    >>> merge(FitState(small_model(), np.zeros(6)), reports, once=False).state
    array([3. , 6. , 4. , 0. , 0. , 4.5])
    """
    weights = shares(reports, once)
    moved = [report for report in reports if report.steps]
    if not moved:
        return MergeResult(fit_state.state, weights)
    if len(moved) == 1:
        return MergeResult(np.array(moved[0].state), weights)
    model, base = fit_state.model, fit_state.state
    assert has_features(model)
    states = [np.asarray(report.state) for report in moved]
    work = merge_weights.by_examples([report.examples for report in moved])
    out = np.empty_like(base)
    for part in _other_parts(model, base.size):
        out[part] = weighted_sum([state[part] for state in states], work)
    _merge_features(model, base, states, [_visits(report, model) for report in moved], work, once, out)
    if out[model.additive].size:
        sums, add_moves = np.zeros(out[model.additive].size), first_use.kernels("coordinate_sums").add_moves
        for state in states:
            add_moves(sums, state[model.additive], base[model.additive])
        out[model.additive] = base[model.additive] + sums
    # a mean of decayed second moments may end below 0 by rounding
    np.maximum(out[model.nonnegative], 0.0, out=out[model.nonnegative])
    return MergeResult(out, weights)


def _visits(report: Report, model: FeatureModel) -> np.ndarray:
    return np.full(model.n_features, report.examples) if report.visits is None else report.visits


def _other_parts(model: FeatureModel, size: int) -> list[slice]:
    """Return the slices of the state that are neither feature parts nor additive."""
    taken = [slice(part.start, part.start + model.n_features * part.width) for part in model.feature_parts]
    taken = sorted([*taken, model.additive, slice(size, size)], key=lambda part: part.start)
    others: list[slice] = []
    end = 0
    for part in taken:
        if part.start > end:
            others.append(slice(end, part.start))
        end = max(end, part.stop)
    return others


def _merge_features(
    model: FeatureModel,
    base: np.ndarray,
    states: Sequence[np.ndarray],
    visits: Sequence[np.ndarray],
    work: np.ndarray,
    once: bool,
    out: np.ndarray,
) -> None:
    """Write the merged values of all feature parts to ``out``."""
    kernels = first_use.kernels("coordinate_sums")
    widest = max(part.width for part in model.feature_parts)
    n_block = max(_BLOCK // widest, 1)
    total, sums = np.zeros(n_block), np.zeros(n_block * widest)
    for first in range(0, model.n_features, n_block):
        n = min(n_block, model.n_features - first)
        total[:] = 0.0
        for counts in visits:
            kernels.add_visits(total, counts, first, n, once)
        for start, width in model.feature_parts:
            for state, counts, share in zip(states, visits, work, strict=True):
                kernels.add_by_visits(sums, total, counts, state, base, start, width, first, n, once, float(share))
            kernels.store_by_visits(sums, total, base, out, start, width, first, n)
