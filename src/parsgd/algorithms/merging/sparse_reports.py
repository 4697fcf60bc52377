"""Reports that contain the values of visited features only, for merges per coordinate.

A task that visited less than a quarter of the features reports a :class:`~parsgd.core.SparseState`, if the other
features have their start values, or these times a common factor (the decay of an l2 penalty).  The worker compares all
values, so the report determines the state bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parsgd.core import FeatureModel, Report, SparseState, rest_slices
from parsgd.utils import first_use

# Share of visited features from which a report is dense: a sparse one has numbers and visits beside the values.
_LEAST_VISITED = 0.25


def compact(report: Report, model: FeatureModel, start: np.ndarray, shrinkage: np.ndarray | None) -> Report:
    """Return the report with a sparse state if that is smaller and exact, otherwise the report itself.

    ``start`` is the start state of the task.  ``shrinkage`` is the factor of unvisited features (``SGDRun.shrinkage``).
    """
    visits, state = report.visits, report.state
    if visits is None or start is state:
        return report
    features = _visited(visits)
    if features is None:
        return report
    is_unvisited_scaled = first_use.kernels("coordinate_sums").is_unvisited_scaled
    parts = model.feature_parts
    for number, part in enumerate(parts):
        factors = np.ones(part.width, dtype=state.dtype)
        if number == 0 and shrinkage is not None:
            factors[:] = shrinkage
        if not is_unvisited_scaled(state, start, visits, part.start, part.width, factors):
            return report
    by_feature = [_part(state, model, number)[features].ravel() for number in range(len(parts))]
    rest = np.concatenate([state[part] for part in rest_slices(model, state.size)] or [state[:0]])
    sparse = SparseState(features, visits[features], tuple(by_feature), rest, shrinkage)
    return replace(report, state=state[:0].copy(), visits=None, sparse_state=sparse)


def _visited(visits: np.ndarray) -> np.ndarray | None:
    """Return the numbers of the features with visits, or None if there are too many for a sparse report."""
    most = int(_LEAST_VISITED * len(visits))
    features = np.empty(most, dtype=np.int32 if len(visits) < 1 << 31 else np.int64)
    n_visited = first_use.kernels("coordinate_sums").find_visited(visits, features) if most else -1
    return None if n_visited < 0 else features[:n_visited].copy()


def expand(report: Report, model: FeatureModel, start: np.ndarray) -> Report:
    """Return the report with its whole state and visits; inverse of :func:`compact`."""
    sparse = report.sparse_state
    if sparse is None:
        return report
    state = start.copy()
    if sparse.shrinkage is not None:
        _part(state, model, 0)[:] *= sparse.shrinkage
    for number, values in enumerate(sparse.values):
        part = _part(state, model, number)
        part[sparse.features] = values.reshape(-1, part.shape[1])
    place_rest(state, model, sparse.rest)
    visits = np.zeros(model.n_features, dtype=sparse.visits.dtype)
    visits[sparse.features] = sparse.visits
    return replace(report, state=state, visits=visits, sparse_state=None)


def place_rest(state: np.ndarray, model: FeatureModel, rest: np.ndarray) -> None:
    """Write the values outside of the feature parts to a state."""
    at = 0
    for part in rest_slices(model, state.size):
        state[part] = rest[at : at + part.stop - part.start]
        at += part.stop - part.start


def _part(state: np.ndarray, model: FeatureModel, number: int) -> np.ndarray:
    """Return the view ``(n_features, width)`` of a feature part."""
    part = model.feature_parts[number]
    return state[part.start : part.start + model.n_features * part.width].reshape(-1, part.width)
