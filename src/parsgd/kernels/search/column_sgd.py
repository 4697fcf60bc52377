"""SGD steps of many linear models at once; the formulas are those of :mod:`parsgd.kernels.linear.single`.

The weights of all models are columns of one matrix, feature-major: ``w[feature * n_columns + column]``.  A row is read
once and updates all columns that train on it.  No number of a column depends on another column, so a column ends at the
same bits, whatever the others are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.row_ops import count_values_per_row, get_feature, get_span
from parsgd.kernels.linear.row_ops_multi import add_outputs, add_outputs_with_norms, dot_outputs
from parsgd.kernels.linear.single import CACHED_BYTES, prefetch_next_rows
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
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
from parsgd.kernels.search.columns import INTERCEPT, L1_NORM, SCALE, SQUARED_NORM, TOTAL_PENALTY

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.row_ops_multi import Tiles
    from parsgd.kernels.search.columns import Columns

U = np.uint64


@inlined
def shrink_scales(columns: Columns, rates: np.ndarray, w: np.ndarray, tiny_scale: float, state: np.ndarray) -> None:
    """Shrink the weights by the l2 penalty; a scale that becomes tiny is multiplied into its column."""
    tiny = False
    for k in range(rates.shape[0]):
        shrink = larger(0.0, 1.0 - (1.0 - columns.l1_ratio[k]) * rates[k] * columns.alpha[k])
        state[SCALE, k] *= shrink
        state[SQUARED_NORM, k] *= shrink * shrink
        state[L1_NORM, k] *= shrink
        tiny |= state[SCALE, k] < tiny_scale
    if tiny:
        for k in range(rates.shape[0]):
            if state[SCALE, k] < tiny_scale:
                for at in range(U(k), U(w.shape[0]), U(rates.shape[0])):
                    w[at] *= state[SCALE, k]
                state[SCALE, k] = 1.0


@inlined
def apply_l1_columns(
    x: DenseRows | CsrRows, row: int, rates: np.ndarray, w: np.ndarray, applied_l1: np.ndarray, state: np.ndarray
) -> None:
    """Apply the cumulative l1 penalty to the weights of a row's features, for columns that train on the row."""
    begin, end = get_span(x, row)
    n_columns = U(rates.shape[0])
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_columns
        for k in range(n_columns):
            scale, total, applied = state[SCALE, k], state[TOTAL_PENALTY, k], applied_l1[at + k]
            before = w[at + k]
            down = larger(0.0, before - (total + applied) / scale)
            up = smaller(0.0, before + (total - applied) / scale)
            after = w.dtype.type(down if before > 0.0 else (up if before < 0.0 else before))
            after = after if rates[k] > 0.0 else before
            w[at + k] = after
            applied_l1[at + k] += scale * (after - before)


@kernel
def run_sgd_columns(
    x: DenseRows | CsrRows,
    y: np.ndarray,
    weight: np.ndarray,
    order: np.ndarray,
    start: int,
    stop: int,
    kinds: np.ndarray,
    w: np.ndarray,
    applied_l1: np.ndarray,
    vectors: np.ndarray,
    work: np.ndarray,
    tiles: Tiles,
    tiny_scale: float,
    state: np.ndarray,
    columns: Columns,
) -> None:
    """Visit ``order[start:stop]``; updates ``w``, ``applied_l1`` and ``state (N_FIELDS, n_columns)``.

    ``kinds (n_rows,)``: row numbers of ``columns.trains``.  ``applied_l1`` is empty without an l1 penalty.  Work space:
    ``vectors (3, n_columns)`` in the type of the weights, and ``work (5, n_columns)`` in float64.
    """
    n_columns = U(state.shape[1])
    token = release_gil((stop - start) * count_values_per_row(x) * state.shape[1] >= 0)
    scores, gradients, rates, targets, factors = work[0], work[1], work[2], work[3], work[4]
    margins, squares, l1_norms = vectors[0], vectors[1], vectors[2]
    has_weights = weight.shape[0] > 0
    exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
    for i in range(start, stop):
        prefetch_next_rows(x, y, order, i)
        if exceeds_cache:
            prefetch_columns(x, order, i, w, n_columns)
        row = order[U(i)]
        trains = columns.trains[U(kinds[U(row)])]
        dot_outputs(tiles, x, row, w, n_columns, margins)
        for k in range(n_columns):
            scores[k] = margins[k] * state[SCALE, k] + state[INTERCEPT, k]
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
        if columns.has_l2:
            shrink_scales(columns, rates, w, tiny_scale, state)
        for k in range(n_columns):
            step = -rates[k] * gradients[k]
            if columns.fit_intercept:
                state[INTERCEPT, k] += step * columns.intercept_decay
            margins[k] = step / state[SCALE, k]
        if columns.tracks_penalty:
            add_outputs_with_norms(tiles, x, row, margins, w, n_columns, squares, l1_norms)
            for k in range(n_columns):
                if margins[k] != 0.0:
                    scale = state[SCALE, k]
                    state[SQUARED_NORM, k], state[L1_NORM, k] = squares[k] * scale * scale, l1_norms[k] * scale
        else:
            add_outputs(tiles, x, row, margins, w, n_columns)
        if columns.has_l1:
            for k in range(n_columns):
                state[TOTAL_PENALTY, k] += columns.l1_ratio[k] * rates[k] * columns.alpha[k]
            apply_l1_columns(x, row, rates, w, applied_l1, state)
    fold_factors(state)
    reacquire_gil(token)
