"""Contract suite for models."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from parsgd import core
from parsgd.core import Rows
from parsgd.core.padded import padded_rows
from parsgd.core.round_group import RoundGroup, make_coordinates, make_round_group
from parsgd.testing.contracts._assert import SEED, must, must_have_members
from parsgd.utils.row_arrays import picked

_CONTRACTS = {
    "gradients": core.GradientModel,
    "averaging": core.AveragingModel,
    "linear_state": core.LinearStateModel,
    "features": core.FeatureModel,
    "shared_steps": core.SharedModel,
    "full_gradient": core.FullGradientModel,
    "compiled_rounds": core.CompiledRoundsModel,
    "compiled_gradients": core.CompiledGradientsModel,
    "worker_state": core.WorkerStateModel,
    "optimizer_state": core.OptimizerStateModel,
}


def check_model(model: core.Model, rows: Rows) -> None:
    """Check a model on some ``rows`` in memory that it can learn from.

    - It has the members of :class:`~parsgd.core.Model` and of the contracts in its ``capabilities``.
    - A run gives the same bits however it is split, counts its steps and examples, and leaves the rows unchanged.
    - With ``lr_scale`` 0 the state does not change.
    - With ``"full_gradient"``: its gradient is that of its objective, and the first step lowers the objective.
    - With ``"compiled_rounds"``: two rounds of one worker give the state of two runs.
    - With ``"compiled_gradients"``: two rounds of one worker give the state of two steps along gradients.
    - With ``"gradients"``: gradients of the parts of a batch sum to that of the batch, and a step along them is the
      step of a run.
    - With ``"worker_state"``: two tasks of a worker give the bits of one, also if another copy of the model makes the
      second with the state that the first returned.
    """
    must_have_members(model, core.Model, "Model")
    unknown = sorted(set(model.capabilities) - core.MODEL_CAPABILITIES)
    must(not unknown, f"capabilities of a model must be in {sorted(core.MODEL_CAPABILITIES)}; got {unknown}.")
    must(not model.capabilities & model.unavailable.keys(), "capabilities and unavailable must not overlap.")
    for capability in sorted(model.capabilities):
        contract = _CONTRACTS[capability]
        must_have_members(model, contract, contract.__name__)
    _check_state(model)
    _check_run(model, rows)
    if core.has_full_gradient(model):
        _check_gradient(model, rows)
        _check_first_step(model, rows)
    if core.has_gradients(model):
        _check_batch_gradients(model, rows)
    if core.has_compiled_rounds(model):
        _check_rounds(model, rows)
    if core.has_compiled_gradients(model):
        _check_gradient_rounds(model, rows)
    if core.has_averaging(model):
        _check_contraction(model)
        _check_decision(model, rows)
    if core.has_shared_steps(model):
        _check_shared_steps(model, rows)
    if core.has_worker_state(model):
        _check_worker_state(model, rows)
    copied = pickle.loads(pickle.dumps(model))
    must(np.array_equal(_run_pass(copied, rows)[0], _run_pass(model, rows)[0]), "A pickled model must be the same.")


def _check_worker_state(model: core.WorkerStateModel, rows: Rows) -> None:
    order, half = np.arange(len(rows.y), dtype=np.int32), len(rows.y) // 2 // model.batch_size * model.batch_size
    budget = core.Budget(len(order))
    kept = {"seed": SEED, "budget": budget, "returns_worker_state": True}

    def run(copied: core.WorkerStateModel, task: core.Task, start: int, stop: int) -> tuple[np.ndarray, object]:
        state = task.state.copy()
        sgd_run = copied.worker_run(state, task, np.ones(model.n_outputs))
        sgd_run.run(rows, order, start, stop)
        sgd_run.finalize()
        return state, sgd_run.worker_state()

    new = [pickle.loads(pickle.dumps(model)) for _ in range(3)]
    whole, _ = run(new[0], core.Task(0, 0, model.init(SEED), **kept), 0, len(order))
    first, worker_state = run(new[1], core.Task(0, 0, model.init(SEED), **kept), 0, half)
    second, _ = run(new[1], core.Task(0, 1, first, last_round=0, **kept), half, len(order))
    must(np.array_equal(second, whole), "Two tasks of a worker must give the bits of one.")
    task = core.Task(0, 1, first, last_round=0, worker_state=worker_state, **kept)
    moved, _ = run(new[2], task, half, len(order))
    must(np.array_equal(moved, whole), "A task with the worker's state must give the same bits in another process.")


def _check_rounds(model: core.CompiledRoundsModel, rows: Rows) -> None:
    order, half = np.arange(len(rows.y), dtype=np.int32), len(rows.y) // 2 // model.batch_size * model.batch_size
    if half == 0:
        return
    lr_scale, state = np.ones(model.n_outputs), model.init(SEED)
    group = _two_rounds(model, state.size, half, len(order), model.batch_size)
    group.schedule_steps[:] = 1.0, 1.0 + half // model.batch_size
    states, spans = group.states, group.spans
    states[:, : state.size] = state
    run = model.sgd_run(states[0, : state.size], 1.0, lr_scale, SEED)
    must(run.prepare_rounds(rows, order, group, 0)() == 2, "Compiled rounds must return the number of merged rounds.")
    for (start, stop), schedule_step in zip(spans[0].tolist(), group.schedule_steps, strict=True):
        reference = model.sgd_run(state, schedule_step, lr_scale, SEED)
        reference.run(rows, order, start, stop)
        reference.finalize()
    must(np.array_equal(states[0, : state.size], state), "Compiled rounds must give the bits of one run per round.")
    must(group.visited.tolist() == [[half, len(order) - half]], "Compiled rounds must count their examples.")


def _check_gradient_rounds(model: core.CompiledGradientsModel, rows: Rows) -> None:
    order, half = np.arange(len(rows.y), dtype=np.int32), len(rows.y) // 2
    lr_scale, state, size = np.ones(model.n_outputs), model.init(SEED), model.n_gradients
    group, reference = _two_rounds(model, size, half, len(order), len(order)), state.copy()
    group.schedule_steps[:] = 1.0, 2.0
    group.states[:] = 0.0
    arguments = (state, group.states[0, :size], lr_scale, SEED, rows, order, group, 0)
    merged = model.prepare_gradient_rounds(*arguments)(group, order)
    must(merged == 2, "Compiled rounds must return the number of merged rounds.")
    for (start, stop), schedule_step in zip(group.spans[0].tolist(), group.schedule_steps.tolist(), strict=True):
        batch = order[start:stop]
        gradients, _ = model.gradient_sum(reference, rows, batch, 0, len(batch), schedule_step, SEED)
        must(len(gradients) == size, f"gradient_sum must return n_gradients = {size} numbers.")
        reference = model.apply_gradient(reference, gradients, schedule_step, lr_scale)
    must(np.array_equal(state, reference), "Compiled rounds must give the bits of one step along gradients per round.")
    must(group.visited.tolist() == [[half, len(order) - half]], "Compiled rounds must count their examples.")


def _two_rounds(model: core.Model, size: int, half: int, n: int, batch_size: int) -> RoundGroup:
    """Return a group of one worker, with states of ``size`` numbers and two rounds."""
    state = np.empty(size, dtype=model.init(SEED).dtype)
    return make_round_group(
        padded_rows(1, state.size, state.dtype),
        size,
        model.n_outputs,
        np.array([[[0, half], [half, n]]]),
        np.ones((2, 1)),
        state[:0],
        batch_size,
        batch_size,
        100,
        make_coordinates(0, state, 1, 2),
    )


def _check_state(model: core.Model) -> None:
    state = model.init(SEED)
    must(state.ndim == 1 and state.flags.c_contiguous, "A state must be one flat, contiguous vector.")
    must(np.array_equal(state, model.init(SEED)), "The same seed must give the same state.")
    must(model.finite(state), "The first state must be finite.")
    for value in (np.nan, np.inf):
        broken = state.copy()
        broken[0] = value
        must(not model.finite(broken), f"A state with {value} in it is not finite.")


def _check_gradient(model: core.FullGradientModel, rows: Rows) -> None:
    step = 1e-6
    rng = np.random.default_rng(SEED)
    state = model.init(SEED).astype(np.float64)
    # a random state avoids kinks, such as that of an l1 penalty at 0
    state += 0.3 * rng.standard_normal(state.size)
    gradient = model.gradient(state, rows)[1]
    must(gradient.shape == state.shape, "A gradient must have the shape of the state.")
    for _ in range(5):
        move = rng.standard_normal(state.size)
        difference = model.gradient(state + step * move, rows)[0] - model.gradient(state - step * move, rows)[0]
        slope, expected = difference / (2.0 * step), float(gradient @ move)
        must(
            abs(slope - expected) <= 1e-5 * (1.0 + abs(expected)),
            f"The gradient must be the slope of the objective: got {expected:.8g}, measured {slope:.8g}.",
        )


def _run_pass(model: core.Model, rows: Rows, cuts: Sequence[int] = (), lr_scale: float = 1.0):
    """Return the state after a pass over the rows, the totals and the run."""
    state, order = model.init(SEED), np.arange(len(rows.y), dtype=np.int32)
    sgd_run = model.sgd_run(state, 1.0, np.full(model.n_outputs, lr_scale), SEED)
    for start, end in pairwise([0, *cuts, len(order)]):
        sgd_run.run(rows, order, start, end)
    totals = sgd_run.take_totals()
    sgd_run.finalize()
    return state, totals, sgd_run


def _check_run(model: core.Model, rows: Rows) -> None:
    n, size = len(rows.y), model.batch_size
    before = [np.array(part) for part in (*rows.x[:1], rows.y, rows.weight)]
    state, totals, sgd_run = _run_pass(model, rows)
    must(not np.array_equal(state, model.init(SEED)), "A run must update the state in place.")
    must(totals.examples == n, f"Totals must count the examples visited: {n}, not {totals.examples}.")
    must(totals.steps == -(-n // size), f"Totals must count the steps: {-(-n // size)}, not {totals.steps}.")
    must(sgd_run.schedule_step == 1.0 + totals.steps, "schedule_step must increase by one with every step.")
    must(sgd_run.take_totals().examples == 0, "take_totals must reset the totals.")
    must(np.shape(totals.loss) == (model.n_outputs,), "The loss in the totals must have one value per output.")
    must(np.isfinite(model.total_loss(totals.loss)), "The total loss must be finite.")
    finalized = state.copy()
    sgd_run.finalize()
    must(np.array_equal(finalized, state), "Calling finalize twice must be the same as calling it once.")
    cut = size * (n // size // 2)
    cut_state, cut_totals, _ = _run_pass(model, rows, cuts=(cut, cut))
    must(np.array_equal(cut_state, state), "Splitting a run between two batches must not change a bit.")
    must(np.array_equal(cut_totals.loss, totals.loss), "Splitting a run must not change the losses.")
    unmoved = _run_pass(model, rows, lr_scale=0.0)[0]
    must(np.array_equal(unmoved, model.init(SEED)), "With lr_scale 0 the state must not change.")
    after = [np.array(part) for part in (*rows.x[:1], rows.y, rows.weight)]
    must(all(map(np.array_equal, before, after)), "A run must not change the rows.")


def _check_first_step(model: core.FullGradientModel, rows: Rows) -> None:
    batch = picked(rows, np.arange(min(model.batch_size, len(rows.y))))
    move = (_run_pass(model, batch)[0] - model.init(SEED)).astype(np.float64)
    slope = float(move @ model.gradient(model.init(SEED), batch)[1])
    must(slope <= 0.0, f"The first step must not go uphill; the objective rises by {slope:.3g} along it.")


def _check_batch_gradients(model: core.GradientModel, rows: Rows) -> None:
    """Check that gradients of slices sum to that of a batch, and that a step along the sum is a step of a run."""
    state, batch = model.init(SEED), np.arange(min(model.batch_size, len(rows.y)), dtype=np.int32)
    middle = len(batch) // 2
    whole, totals = model.gradient_sum(state, rows, batch, 0, len(batch), 1.0, SEED)
    parts = [model.gradient_sum(state, rows, batch, *ends, 1.0, SEED) for ends in ((0, middle), (middle, len(batch)))]
    scale = max(float(np.abs(whole).max()), 1e-30)
    must(
        float(np.abs(parts[0][0] + parts[1][0] - whole).max()) <= 1e-4 * scale,
        "The gradients of the parts of a batch must sum to the gradient of the batch.",
    )
    must(sum(part[1].examples for part in parts) == totals.examples == len(batch), "Totals must count the examples.")
    ours = model.apply_gradient(state, whole, 1.0, np.ones(model.n_outputs))
    theirs = _run_pass(model, picked(rows, batch))[0]
    must(np.array_equal(state, model.init(SEED)), "gradient_sum and apply_gradient must not modify the state.")
    must(ours.shape == state.shape and ours.dtype == state.dtype, "apply_gradient must return a state.")
    if core.has_averaging(model):  # slots, such as paid penalties, may differ
        state, ours, theirs = (model.decision(one, rows.x) for one in (state, ours, theirs))
    scale = max(float(np.abs(theirs - state).max()), 1e-30)
    must(
        float(np.abs(ours - theirs).max()) <= 1e-3 * scale,
        "A step along the gradient of a batch must be the step that a run makes on this batch.",
    )


def _check_decision(model: core.AveragingModel, rows: Rows) -> None:
    state = model.init(SEED)
    decision = model.decision(state, rows.x)
    must(np.ndim(decision) == 2 and len(decision) == len(rows.y), "decision must be (n_rows, n_outputs).")
    loss, gradient = model.mean_loss(decision, rows)
    must(np.isfinite(loss), "The mean loss of the first state must be finite.")
    must(np.shape(gradient) == np.shape(decision), "mean_loss must return a gradient in the decisions.")
    must(np.isfinite(model.penalty_value(state)), "The penalty of the first state must be finite.")
    must(1.0 <= model.max_lr_factor(1.0, 3) <= 3.0, "max_lr_factor must be from 1 to the number of workers.")


def _check_shared_steps(model: core.SharedModel, rows: Rows) -> None:
    """Check that two runs on one state, one after the other, visit the rows of one run and come as far.

    Where both have moved a parameter, a model may average the increments.  It then counts the schedule's steps and the
    penalty in the same way, so that its parameters are only about those of a single run.
    """
    start, order = model.init(SEED), np.arange(len(rows.y), dtype=np.int32)
    must(model.size == start.size, f"size must be the number of elements of a state: {start.size}, not {model.size}.")
    must(
        np.array_equal(model.from_shared(start, model.shared_scalars(start, 1.0, 2)), start),
        "from_shared must return the initial state bit for bit from the initial shared_scalars.",
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
    alone, totals, _ = _run_pass(model, rows)
    must(sum(steps) == totals.steps, f"Runs must count their own steps: {steps} do not sum to {totals.steps}.")
    reached = runs[1].schedule_step - 1.0
    must(reached in (totals.steps, totals.steps / 2), "Runs on one state must share schedule_step.")
    tolerance = 1e-3 if reached == totals.steps else 0.5
    ours, scale = model.from_shared(state, shared_scalars), max(float(np.abs(alone - start).max()), 1e-30)
    must(
        float(np.abs(ours - alone).max()) <= tolerance * scale,
        "Two alternating runs on one state must end where a single run ends.",
    )


def _check_contraction(model: core.AveragingModel) -> None:
    must(model.log_contraction(1.0, 0) == 0.0, "log_contraction(schedule_step, 0) must be 0.")
    few, many = model.log_contraction(1.0, 10), model.log_contraction(1.0, 1000)
    must(np.isfinite(many) and many <= few <= 0.0, "log_contraction must not increase with the number of steps.")
