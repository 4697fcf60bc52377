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

from parsgd.algorithms.merging import merge_weights
from parsgd.algorithms.merging.sparse_reports import expand, place_rest
from parsgd.core import FeatureModel, FitState, MergeResult, Report, SparseState, has_features, rest_slices
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
        visits = report.visits if report.sparse_state is None else report.sparse_state.visits
        if visits is None:
            return by_examples
        visits = visits if report.steps else visits[:0]
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
    shares_of_work = merge_weights.by_examples([report.examples if report.steps else 0 for report in reports])
    moved = [report for report in reports if report.steps]
    if not moved:
        return MergeResult(fit_state.state, weights, work=shares_of_work)
    model, base = fit_state.model, fit_state.state
    assert has_features(model)
    if len(moved) == 1:
        return MergeResult(np.array(expand(moved[0], model, base).state), weights, work=shares_of_work)
    work = merge_weights.by_examples([report.examples for report in moved])
    sparse = [report.sparse_state for report in moved if report.sparse_state is not None]
    if len(sparse) == len(moved):
        out = _merge_sparse(model, base, sparse, work, once)
        rests = [report.rest for report in sparse]
    else:
        moved = [expand(report, model, base) for report in moved]
        states = [np.asarray(report.state) for report in moved]
        out = _merge_dense(model, base, states, [_visits(report, model) for report in moved], work, once)
        rests = [_rest(model, state) for state in states]
    place_rest(out, model, _merge_rest(model, base, rests, work))
    # a mean of decayed second moments may end below 0 by rounding
    np.maximum(out[model.nonnegative], 0.0, out=out[model.nonnegative])
    return MergeResult(out, weights, work=shares_of_work)


def _visits(report: Report, model: FeatureModel) -> np.ndarray:
    return np.full(model.n_features, report.examples) if report.visits is None else report.visits


def _rest(model: FeatureModel, state: np.ndarray) -> np.ndarray:
    """Return the values outside of the feature parts."""
    return np.concatenate([state[part] for part in rest_slices(model, state.size)] or [state[:0]])


def _merge_rest(model: FeatureModel, base: np.ndarray, rests: Sequence[np.ndarray], work: np.ndarray) -> np.ndarray:
    """Return the merged values outside of the feature parts."""
    merged = weighted_sum(rests, work)
    origin, at = _rest(model, base), 0
    for part in rest_slices(model, base.size):
        here = slice(at, at + part.stop - part.start)
        at = here.stop
        if model.additive.start <= part.start < model.additive.stop:
            moves = sum(rest[here].astype(np.float64) - origin[here] for rest in rests)
            merged[here] = origin[here] + moves
    return merged


def _merge_dense(
    model: FeatureModel,
    base: np.ndarray,
    states: Sequence[np.ndarray],
    visits: Sequence[np.ndarray],
    work: np.ndarray,
    once: bool,
) -> np.ndarray:
    """Return a state with the merged values of all feature parts; the others are undefined."""
    kernels, out = first_use.kernels("coordinate_sums"), np.empty_like(base)
    widest = max(part.width for part in model.feature_parts)
    n_block = max(_BLOCK // widest, 1)
    total, sums = np.zeros(n_block), np.zeros(n_block * widest)
    for first in range(0, model.n_features, n_block):
        n = min(n_block, model.n_features - first)
        total[:] = 0.0
        for counts in visits:
            kernels.add_visits(total, counts, first, n, once)
        for start, width, is_sum in model.feature_parts:
            if is_sum:
                block = slice(start + first * width, start + (first + n) * width)
                moves = sums[: n * width]
                for state in states:
                    kernels.add_moves(moves, state[block], base[block], 1.0)
                out[block] = base[block] + moves
                moves[:] = 0.0
                continue
            for state, counts, share in zip(states, visits, work, strict=True):
                kernels.add_by_visits(sums, total, counts, state, base, start, width, first, n, once, float(share))
            kernels.store_by_visits(sums, total, base, out, start, width, first, n)
    return out


def _merge_sparse(
    model: FeatureModel, base: np.ndarray, reports: Sequence[SparseState], work: np.ndarray, once: bool
) -> np.ndarray:
    """Return what :func:`_merge_dense` returns, bit for bit, from the visited features."""
    kernels, out = first_use.kernels("coordinate_sums"), base.copy()
    if any(report.shrinkage is not None for report in reports):
        _shrink_unvisited(model, base, reports, work, out)
    features, visits = (
        np.concatenate(arrays) for arrays in zip(*((report.features, report.visits) for report in reports), strict=True)
    )
    ends = np.cumsum([len(report.features) for report in reports])
    widest = max(part.width for part in model.feature_parts)
    n_block = max(_BLOCK // widest, 1)
    total, sums = np.zeros(n_block), np.zeros(n_block * widest)
    for number, (start, width, is_sum) in enumerate(model.feature_parts):
        values = np.concatenate([report.values[number] for report in reports])
        heads = ends - [len(report.features) for report in reports]
        kernels.merge_visited(
            features, visits, values, heads, ends, total, sums, base, out, start, width, model.n_features, once, is_sum
        )
    return out


def _shrink_unvisited(
    model: FeatureModel, base: np.ndarray, reports: Sequence[SparseState], work: np.ndarray, out: np.ndarray
) -> None:
    """Write the merged weights of features without any visit to ``out``, and the same values for the others."""
    add_moves = first_use.kernels("coordinate_sums").add_moves
    start, width, _ = model.feature_parts[0]
    n_block = max(_BLOCK // width, 1)
    sums, shrunk = np.zeros(n_block * width), np.empty(n_block * width, dtype=base.dtype)
    for first in range(0, model.n_features, n_block):
        n = min(n_block, model.n_features - first) * width
        block = slice(start + first * width, start + first * width + n)
        for report, share in zip(reports, work, strict=True):
            if report.shrinkage is not None:
                # rounded to the dtype of the state, as on the worker
                np.multiply(base[block].reshape(-1, width), report.shrinkage, out=shrunk[:n].reshape(-1, width))
                add_moves(sums, shrunk[:n], base[block], float(share))
        out[block] = base[block] + sums[:n]
        sums[:] = 0.0
