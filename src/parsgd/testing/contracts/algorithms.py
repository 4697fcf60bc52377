"""Contract suite for algorithms."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from parsgd import core
from parsgd.core import Budget, FitState, Task, no_progress
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.testing.contracts._assert import SEED, must, must_have_members
from parsgd.testing.contracts._fixtures import small_model, small_report, small_source
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule


def check_algorithm(algorithm: core.Algorithm) -> None:
    """Check an algorithm with a linear model on a small problem.

    - ``merge`` is pure, with equal weights for equal workers and weight 0 for idle ones.
    - If no worker changed the state, ``merge`` returns it.  It returns a single report's state bit for bit.
    - ``run`` stays within the budget of its task.
    - A fit lowers the objective.

    An algorithm that needs shared memory is fitted on threads.  Its tasks must all hold one array, which ``run``
    updates.
    """
    must_have_members(algorithm, core.Algorithm, "Algorithm")
    traits = algorithm.traits
    must(isinstance(traits, core.AlgorithmTraits), "traits must be an instance of parsgd.core.AlgorithmTraits.")
    must(all(isinstance(need, str) for need in traits.requires), "requires must be a set of capability names.")
    must(traits.partition in core.PARTITIONS, f"partition must be one of {core.PARTITIONS}.")
    must(traits.message in ("state", "gradient"), "message must be 'state' or 'gradient'.")
    must(algorithm.rows_per_step(small_model()) >= 1, "rows_per_step must be at least 1.")
    for n_workers in (1, 2, 5):
        must(1 <= algorithm.quorum(n_workers) <= n_workers, "A quorum must be between 1 and the number of workers.")
    must(pickle.loads(pickle.dumps(algorithm)) == algorithm, "An algorithm must be picklable, and equal to its copy.")
    _check_merge(algorithm)
    budget = _check_run(algorithm)
    source = small_source()
    start = small_model().gradient(small_model().init(1), source.rows)[0]
    engine = Threads() if _shares_memory(algorithm) else Serial()
    result = fit(small_model(), algorithm, engine, source, n_workers=2, max_epochs=3)
    end = small_model().gradient(result.state, source.rows)[0]
    must(end < start, f"A fit must lower the objective; it went from {start:.4g} to {end:.4g}.")
    # rounds with a time limit visit a number of rows that depends on the machine
    if budget.seconds is None:
        must(result.examples >= 3 * source.n_rows, "Three epochs must visit at least three times the number of rows.")
        if algorithm.quorum(2) == 2:
            # after a repartition the last round may pass the end of the third epoch
            limit = 4 * source.n_rows - 1 if len(source.splits) > 1 else 3 * source.n_rows
            must(result.examples <= limit, "Three epochs must visit every row three times.")


def _shares_memory(algorithm: core.Algorithm) -> bool:
    """Return True if all workers write to one shared array, the state of their tasks."""
    return "shared_memory" in algorithm.traits.requires


def _start_state(algorithm: core.Algorithm, fit_state: FitState, worker: int) -> np.ndarray:
    """Return the start state of a worker's next task."""
    state = algorithm.next_task(fit_state, worker).state
    return fit_state.state if state is None else state


def _reports(algorithm: core.Algorithm, fit_state: FitState, rng: np.random.Generator) -> list[core.Report]:
    """Return the reports of three equal workers."""
    if _shares_memory(algorithm):
        start_states = [_start_state(algorithm, fit_state, worker) for worker in range(3)]
        must(
            all(start_state is start_states[0] for start_state in start_states),
            "All tasks of workers that share memory must hold the same array.",
        )
        must(not np.shares_memory(start_states[0], fit_state.state), "Workers must not write to the driver's state.")
        return [small_report(worker, start_state) for worker, start_state in enumerate(start_states)]
    # the last element of a gradient message is the summed weight of its examples
    size = fit_state.state.size + (algorithm.traits.message == "gradient")
    return [small_report(worker, np.abs(rng.standard_normal(size))) for worker in range(3)]


def _check_merge(algorithm: core.Algorithm) -> None:
    rng = np.random.default_rng(SEED)
    model = small_model()
    start = rng.standard_normal(model.size)
    fit_state = _initial_fit_state(algorithm, model, start)
    memory_before = pickle.dumps(fit_state.memory)
    reports = _reports(algorithm, fit_state, rng)
    copies = pickle.loads(pickle.dumps((start, reports)))
    merge = algorithm.merge(fit_state, reports)
    again = algorithm.merge(fit_state, reports)
    must(np.array_equal(merge.state, again.state), "merge must be pure: equal reports must give equal states.")
    unchanged = np.array_equal(start, copies[0]) and all(
        np.array_equal(report.state, old.state) for report, old in zip(reports, copies[1], strict=True)
    )
    must(unchanged, "merge must be pure: it must not write to the state or to the reports.")
    must(pickle.dumps(fit_state.memory) == memory_before, "merge must be pure: it must not write to its memory.")
    must(np.shape(merge.weights) == (3,), "merge must return the weight of each report.")
    equal = merge.weights
    if algorithm.n_probe_rows(small_source().n_rows * 1000):
        # with probe rows, equal work does not imply equal weights, but equal states do
        equal_states = [replace(report, state=reports[0].state) for report in reports]
        equal = algorithm.merge(fit_state, equal_states).weights
    must(np.ptp(equal) < 1e-12, f"Equal workers must have equal weights; the weights are {equal}.")
    if algorithm.traits.message == "state" and not _shares_memory(algorithm):
        _check_states(algorithm, fit_state, reports)
    idle = replace(reports[2], steps=0, examples=0, log_contraction=0.0)
    weights = algorithm.merge(fit_state, [*reports[:2], idle]).weights
    must(weights[2] == 0.0, "A worker that made no step must have weight 0.")
    idle_reports = [replace(report, steps=0, examples=0, log_contraction=0.0) for report in reports]
    must(
        np.array_equal(algorithm.merge(fit_state, idle_reports).state, start),
        "If no worker moved, the state must stay.",
    )
    following = replace(fit_state, state=merge.state, memory=merge.memory, round=1)
    sent = [_start_state(algorithm, following, worker) for worker in range(3)]
    if _shares_memory(algorithm):
        # one array, not updated by any worker yet
        alone = algorithm.merge(fit_state, reports[:1]).state
        must(np.array_equal(alone, start), "A single report's state must come back bit for bit.")
    else:
        must(all(np.shape(state) == start.shape for state in sent), "next_task must start from a state.")


def _check_states(algorithm: core.Algorithm, fit_state: FitState, reports: list[core.Report]) -> None:
    """Check merges of states: a single report returns its state, and reports of the old state change nothing."""
    for place in (fit_state, _initial_fit_state(algorithm, fit_state.model, fit_state.state, n_workers=1)):
        alone = algorithm.merge(place, reports[:1])
        # a smaller weight means that the merge contains another vector: the old state, or a center
        if alone.weights[0] == 1.0 or (algorithm.traits.one_shot and place.n_workers == 1):
            must(np.array_equal(alone.state, reports[0].state), "A single report's state must come back bit for bit.")
    unmoved = algorithm.merge(fit_state, [replace(report, state=fit_state.state) for report in reports]).state
    must(
        np.allclose(unmoved, fit_state.state, rtol=1e-12), "If every worker ends where it started, the state must stay."
    )


def _initial_fit_state(
    algorithm: core.Algorithm, model: core.Model, state: np.ndarray, shards: Any = (), n_workers: int = 3
) -> FitState:
    """Return the initial fit state for three workers, or for one worker per shard."""
    n_workers, zero = len(shards) or n_workers, np.zeros(model.n_outputs)
    fit_state = FitState(
        model,
        state,
        n_workers,
        small_source().n_rows,
        max_epochs=2,
        sample=small_source().rows,
        cursors=(0,) * n_workers,
        shard_rows=tuple(shard.n_rows for shard in shards) or (20,) * n_workers,
        tasks=tuple(Task(worker, 0, state, SEED, Budget(10), lr_scale=zero + 1.0) for worker in range(n_workers)),
    )
    return replace(fit_state, memory=algorithm.init_memory(fit_state))


def _check_run(algorithm: core.Algorithm) -> Budget:
    """Check the runs of one task, and return the budget of the task."""
    model = small_model()
    shards = small_source().split(2, SEED, algorithm.traits.partition)
    fit_state = _initial_fit_state(algorithm, model, model.init(0), shards)
    budget = algorithm.next_task(fit_state, 1).budget
    if algorithm.traits.one_shot:
        budget = replace(budget, stopping=StoppingRule(tol=None))

    def task() -> Task:
        start_state = _start_state(algorithm, _initial_fit_state(algorithm, model, model.init(0), shards), 1)
        return Task(1, 0, start_state, 3, budget, n_workers=2, source_rows=small_source().n_rows)

    first = task()
    before = first.state.copy()
    report = algorithm.run(model, shards[1], first, no_progress)
    must((report.worker, report.round) == (1, 0), "A report must carry the worker and the round of its task.")
    if _shares_memory(algorithm):
        must(not _same(first.state, before), "run must update the task's state if memory is shared.")
        must(report.state is first.state, "A report must hold the shared array if memory is shared.")
    else:
        must(_same(first.state, before), "run must not write to the task's state.")
    must(0 < report.examples <= budget.examples, "run must stay within its budget of examples.")
    repeated = algorithm.run(model, shards[1], task(), no_progress)
    if budget.seconds is None:
        must(_same(report.state, repeated.state), "Running a task twice must give the same bits.")
    halted = algorithm.run(model, shards[1], task(), lambda worker, examples, sgd_run: False)
    must(halted.examples <= report.examples, "run must end early if the progress callback returns False.")
    return budget


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return True if both arrays are equal bit for bit; shared vectors may contain NaN."""
    return one.tobytes() == other.tobytes()
