"""AdaGrad steps of many linear models at once; the formulas are those of :mod:`parsgd.kernels.linear.adagrad`.

The layout is that of :mod:`parsgd.kernels.search.column_sgd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.adagrad import CACHED_BYTES, EPSILON, shrink_weight
from parsgd.kernels.linear.row_ops import count_values_per_row, get_feature, get_span
from parsgd.kernels.linear.row_ops_multi import dot_outputs
from parsgd.kernels.linear.single import prefetch_next_rows
from parsgd.kernels.lowlevel.compiling import exact, inlined, kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.search.column_steps import (
    add_penalties,
    evaluate_columns,
    evaluate_joint,
    fold_factors,
    prefetch_columns,
    set_rates,
    set_targets,
    weigh_gradients,
)
from parsgd.kernels.search.columns import INTERCEPT, INTERCEPT_SQUARES, L1_NORM, SQUARED_NORM, TOTAL_PENALTY

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.row_ops_multi import Tiles
    from parsgd.kernels.search.columns import Columns

U = np.uint64


@inlined
def apply_penalties(
    x: DenseRows | CsrRows,
    row: int,
    columns: Columns,
    trains: np.ndarray,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    state: np.ndarray,
) -> None:
    """Apply the pending penalties to the weights of a row's features, for columns that train on the row."""
    begin, end = get_span(x, row)
    n_columns, number = U(trains.shape[0]), w.dtype.type
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_columns
        for k in range(n_columns):
            total = number(state[TOTAL_PENALTY, k])
            pending = total - applied_penalty[at + k] if trains[k] > 0.0 else number(0.0)
            l1 = number(columns.l1_ratio[k])
            w[at + k] = shrink_weight(w[at + k], squares[at + k], pending, l1, number(1.0) - l1)
            applied_penalty[at + k] += pending


@exact
def step_columns(
    value: float, at: int, n_columns: int, gradients: np.ndarray, rates: np.ndarray, w: np.ndarray, squares: np.ndarray
) -> None:
    """Step along ``gradients * value`` on the weights of one feature, with exact roots and quotients."""
    epsilon = w.dtype.type(EPSILON)
    for k in range(n_columns):
        g = gradients[k] * value
        squared_sum = squares[at + k] + g * g
        squares[at + k] = squared_sum
        w[at + k] -= rates[k] * g / np.sqrt(squared_sum + epsilon)


@inlined
def store_norms(x: DenseRows | CsrRows, row: int, trains: np.ndarray, w: np.ndarray, state: np.ndarray) -> None:
    """Store the norms of the weights of a row's features, for columns that train on the row."""
    begin, end = get_span(x, row)
    n_columns = U(trains.shape[0])
    for k in range(n_columns):
        if trains[k] > 0.0:
            state[SQUARED_NORM, k], state[L1_NORM, k] = 0.0, 0.0
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_columns
        for k in range(n_columns):
            weight = np.float64(w[at + k])
            state[SQUARED_NORM, k] += trains[k] * (weight * weight)
            state[L1_NORM, k] += trains[k] * abs(weight)


@kernel
def run_adagrad_columns(
    x: DenseRows | CsrRows,
    y: np.ndarray,
    weight: np.ndarray,
    order: np.ndarray,
    start: int,
    stop: int,
    kinds: np.ndarray,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    vectors: np.ndarray,
    work: np.ndarray,
    tiles: Tiles,
    state: np.ndarray,
    columns: Columns,
) -> None:
    """Visit ``order[start:stop]``; updates ``w``, ``squares``, ``applied_penalty`` and ``state``.

    ``applied_penalty`` is empty without a penalty.  Work space: ``vectors (3, n_columns)`` in the type of the weights,
    and ``work (5, n_columns)`` in float64.
    """
    n_columns, number = U(state.shape[1]), w.dtype.type
    token = release_gil((stop - start) * count_values_per_row(x) * state.shape[1] >= 0)
    scores, gradients, rates, targets, factors = work[0], work[1], work[2], work[3], work[4]
    margins, typed_gradients, typed_rates = vectors[0], vectors[1], vectors[2]
    has_weights, has_penalty = weight.shape[0] > 0, applied_penalty.shape[0] > 0
    exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
    for i in range(start, stop):
        prefetch_next_rows(x, y, order, i)
        if exceeds_cache:
            prefetch_columns(x, order, i, w, n_columns)
            prefetch_columns(x, order, i, squares, n_columns)
        row = order[U(i)]
        trains = columns.trains[U(kinds[U(row)])]
        if has_penalty:
            apply_penalties(x, row, columns, trains, w, squares, applied_penalty, state)
        dot_outputs(tiles, x, row, w, n_columns, margins)
        for k in range(n_columns):
            scores[k] = margins[k] + state[INTERCEPT, k]
        set_targets(y[U(row)], columns, targets, factors)
        if columns.n_joint > 0:
            evaluate_joint(columns, y[U(row)], trains, scores, gradients, state)
        else:
            evaluate_columns(columns, trains, targets, scores, gradients, state)
        if i & 15 == 0:  # 16 factors, each at most the number of classes, cannot overflow
            fold_factors(state)
        if columns.tracks_penalty:
            add_penalties(columns, trains, state)
        set_rates(columns, trains, state, rates)
        weigh_gradients(weight[U(row)] if has_weights else 1.0, factors, rates, gradients)
        for k in range(n_columns):
            typed_gradients[k], typed_rates[k] = number(gradients[k]), number(rates[k])
        begin, end = get_span(x, row)
        for position in range(begin, end):
            at = get_feature(x, position, begin) * n_columns
            step_columns(x.data[position], at, n_columns, typed_gradients, typed_rates, w, squares)
        if columns.tracks_penalty:
            store_norms(x, row, trains, w, state)
        for k in range(n_columns):
            if columns.fit_intercept:
                g = gradients[k]
                state[INTERCEPT_SQUARES, k] += g * g
                state[INTERCEPT, k] -= rates[k] * g / np.sqrt(state[INTERCEPT_SQUARES, k] + EPSILON)
            state[TOTAL_PENALTY, k] += rates[k] * columns.alpha[k]
    fold_factors(state)
    reacquire_gil(token)


@kernel
def apply_all_penalties(
    columns: Columns, w: np.ndarray, squares: np.ndarray, applied_penalty: np.ndarray, state: np.ndarray
) -> None:
    """Apply the pending penalties to all weights."""
    n_columns, number = U(state.shape[1]), w.dtype.type
    token = release_gil(w.shape[0] >= 0)
    for at in range(U(0), U(w.shape[0]), n_columns):
        for k in range(n_columns):
            total = number(state[TOTAL_PENALTY, k])
            l1 = number(columns.l1_ratio[k])
            pending = total - applied_penalty[at + k]
            w[at + k] = shrink_weight(w[at + k], squares[at + k], pending, l1, number(1.0) - l1)
            applied_penalty[at + k] = total
    reacquire_gil(token)
