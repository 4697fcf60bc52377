"""What a model promises."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from parsgd import core
from parsgd.core import CsrRows, DenseRows, Rows
from parsgd.testing.contracts._assert import SEED, must


def check_model(model: core.Model, rows: Rows) -> None:
    """Check a model on some ``rows`` in memory that it can learn from.

    Its gradient is the slope of its objective; a run of steps is the same however it is cut; it goes downhill, counts
    what it does, leaves the rows alone, and stands still where its gains are 0.
    """
    must(isinstance(model, core.Model), f"{type(model).__name__} lacks parts of parsgd.core.Model.")
    _check_state(model)
    _check_gradient(model, rows)
    _check_descent(model, rows)
    _check_contraction(model)
    must(
        all(isinstance(offer, str) for offer in model.capabilities),
        "capabilities must be a set of names of capabilities.",
    )
    must(not model.capabilities & model.unavailable.keys(), "A model cannot offer what it withholds.")
    if "shared_steps" in model.capabilities:
        _check_sharing(model, rows)
    copied = pickle.loads(pickle.dumps(model))
    must(np.array_equal(_descended(copied, rows)[0], _descended(model, rows)[0]), "A pickled model must be the same.")


def _check_state(model: core.Model) -> None:
    state = model.init(SEED)
    must(state.ndim == 1 and state.flags.c_contiguous, "A state must be one flat, contiguous vector.")
    must(np.array_equal(state, model.init(SEED)), "The same seed must give the same state.")
    must(model.finite(state), "The first state must be finite.")
    for value in (np.nan, np.inf):
        broken = state.copy()
        broken[0] = value
        must(not model.finite(broken), f"A state with {value} in it is not finite.")


def _check_gradient(model: core.Model, rows: Rows, step: float = 1e-6) -> None:
    rng = np.random.default_rng(SEED)
    state = model.init(SEED).astype(np.float64)
    # a random place: kinks, as those of an l1 penalty at 0, are not there
    state += 0.3 * rng.standard_normal(state.size)
    gradient = model.gradient(state, rows)[1]
    must(gradient.shape == state.shape, "A gradient must have the shape of the state.")
    for _ in range(5):
        move = rng.standard_normal(state.size)
        difference = model.gradient(state + step * move, rows)[0] - model.gradient(state - step * move, rows)[0]
        slope, expected = difference / (2.0 * step), float(gradient @ move)
        must(
            abs(slope - expected) <= 1e-5 * (1.0 + abs(expected)),
            f"The gradient must be the slope of the objective: {expected:.8g} was said, {slope:.8g} is measured.",
        )


def _descended(model: core.Model, rows: Rows, cuts: Sequence[int] = (), gain: float = 1.0, stop: int | None = None):
    """The state after one pass over the rows (or their first ``stop``), the tally and the clock."""
    state, order = model.init(SEED), np.arange(len(rows.y), dtype=np.int32)[:stop]
    sgd_run = model.sgd_run(state, 1.0, np.full(model.n_outputs, gain), SEED)
    edges = [0, *cuts, len(order)]
    for start, end in pairwise(edges):
        sgd_run.run(rows, order, start, end)
    totals = sgd_run.take_totals()
    sgd_run.finalize()
    return state, totals, sgd_run


def _check_descent(model: core.Model, rows: Rows) -> None:
    n, size = len(rows.y), model.batch_size
    before = [np.array(part) for part in (*rows.x[:1], rows.y, rows.weight)]
    state, totals, sgd_run = _descended(model, rows)
    must(not np.array_equal(state, model.init(SEED)), "Descending must move the state, in place.")
    must(totals.examples == n, f"A tally must count the examples visited: {n}, not {totals.examples}.")
    must(totals.steps == -(-n // size), f"A tally must count the steps: {-(-n // size)}, not {totals.steps}.")
    must(sgd_run.schedule_step == 1.0 + totals.steps, "The clock must rise by one with every step.")
    must(sgd_run.take_totals().examples == 0, "A tally must hand out what happened since the last one, once.")
    must(np.shape(totals.loss) == (model.n_outputs,), "A tally's loss must have one number for each output.")
    must(np.isfinite(model.total_loss(totals.loss)), "The total loss must be a finite number.")
    settled = state.copy()
    sgd_run.finalize()
    must(np.array_equal(settled, state), "Settling twice must be settling once.")
    cut = size * (n // size // 2)
    cut_state, cut_tally, _ = _descended(model, rows, cuts=(cut, cut))
    must(np.array_equal(cut_state, state), "Where a run is cut, between two batches, must not change a bit.")
    must(np.array_equal(cut_tally.loss, totals.loss), "Where a run is cut must not change the losses.")
    still = _descended(model, rows, gain=0.0)[0]
    must(np.array_equal(still, model.init(SEED)), "An output of gain 0 must stand still.")
    batch = _first(rows, size)
    move = (_descended(model, batch)[0] - model.init(SEED)).astype(np.float64)
    slope = float(move @ model.gradient(model.init(SEED), batch)[1])
    must(slope <= 0.0, f"The first step must not go uphill; the objective rises by {slope:.3g} along it.")
    after = [np.array(part) for part in (*rows.x[:1], rows.y, rows.weight)]
    must(all(map(np.array_equal, before, after)), "Descending must leave the rows alone.")


def _check_sharing(model: core.Model, rows: Rows) -> None:
    """Two runs that take turns on one state visit what one run visits, and arrive close to it."""
    must(
        isinstance(model, core.SharedModel),
        "A model that offers shared_steps must have size, shared_scalars and settled.",
    )
    start, order = model.init(SEED), np.arange(len(rows.y), dtype=np.int32)
    must(model.size == start.size, f"size must be the number of elements of a state: {start.size}, not {model.size}.")
    must(
        np.array_equal(model.from_shared(start, model.shared_scalars(start, 1.0, 2)), start),
        "A state and the shared_scalars that a round begins with must settle to that state, bit for bit.",
    )
    state, lr_scale = start.copy(), np.ones(model.n_outputs)
    shared_scalars = model.shared_scalars(state, 1.0, 2)
    runs = [model.sgd_run(state, 1.0, lr_scale, SEED, 1.0, shared_scalars) for _ in range(2)]
    size = model.batch_size
    edges = [0, len(order) // (2 * size) * size, len(order)]
    for run, (first, end) in zip(runs, pairwise(edges), strict=True):
        run.run(rows, order, first, end)
    steps = [run.take_totals().steps for run in runs]
    for run in runs:
        run.finalize()
    alone, totals, sgd_run = _descended(model, rows)
    must(sum(steps) == totals.steps, f"Runs must count their own steps: {steps} are not {totals.steps} together.")
    must(runs[1].schedule_step == sgd_run.schedule_step, "Runs on one state must move one clock.")
    ours, scale = model.from_shared(state, shared_scalars), max(float(np.abs(alone - start).max()), 1e-30)
    must(
        float(np.abs(ours - alone).max()) <= 1e-3 * scale,
        "Two runs that take turns on one state must arrive where one arrives.",
    )


def _check_contraction(model: core.Model) -> None:
    must(model.log_contraction(1.0, 0) == 0.0, "No step pulls nothing together: log_contraction(clock, 0) must be 0.")
    few, many = model.log_contraction(1.0, 10), model.log_contraction(1.0, 1000)
    must(np.isfinite(many) and many <= few <= 0.0, "More steps must pull runs together at least as much as fewer.")


def _first(rows: Rows, count: int) -> Rows:
    x = rows.x
    if isinstance(x, CsrRows):
        part: Any = CsrRows(x.data, x.indices, x.indptr[: count + 1])
    else:
        part = DenseRows(x.data[: count * x.n_features], x.n_features)
    return Rows(part, rows.y[:count], rows.weight[:count])
