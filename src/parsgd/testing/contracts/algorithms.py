"""What an algorithm promises."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from parsgd import core
from parsgd.core import Budget, FitState, Task, no_progress
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.testing.contracts._assert import SEED, must
from parsgd.testing.contracts._fixtures import small_model, small_report, small_source
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule


def check_algorithm(algorithm: core.Algorithm) -> None:
    """Check an algorithm with a linear model on a small problem.

    Its ``merge`` is pure, weighs equal workers alike and idle ones not at all, stays where workers stayed, and
    returns a report that is all there is in a merge bit for bit; ``run`` keeps to its task; a fit gets better than it
    began.  One that needs shared memory is fitted on threads; its tasks must all hold one array, and its work must move
    it.
    """
    must(isinstance(algorithm, core.Algorithm), f"{type(algorithm).__name__} lacks parts of parsgd.core.Algorithm.")
    must(all(isinstance(need, str) for need in algorithm.requires), "requires must be a set of names of capabilities.")
    must(algorithm.partition in core.PARTITIONS, f"partition must be one of {core.PARTITIONS}.")
    must(algorithm.message in ("state", "gradient"), "message must be 'state' or 'gradient'.")
    for n_workers in (1, 2, 5):
        must(1 <= algorithm.quorum(n_workers) <= n_workers, "A quorum must lie between 1 and the number of workers.")
    must(pickle.loads(pickle.dumps(algorithm)) == algorithm, "An algorithm must be picklable, and equal to its copy.")
    _check_combine(algorithm)
    _check_work(algorithm)
    source = small_source()
    start = small_model().gradient(small_model().init(1), source.rows)[0]
    engine = Threads() if _shares(algorithm) else Serial()
    result = fit(small_model(), algorithm, engine, source, n_workers=2, max_epochs=3)
    end = small_model().gradient(result.state, source.rows)[0]
    must(end < start, f"A fit must lower the objective; it went from {start:.4g} to {end:.4g}.")
    # rounds that end by the clock end where the machine is at
    if getattr(algorithm, "seconds", None) is None and getattr(algorithm, "deadline", None) is None:
        must(result.examples >= 3 * source.n_rows, "Three epochs must visit as many examples as there are in three.")
        if algorithm.quorum(2) == 2:
            must(result.examples == 3 * source.n_rows, "Three epochs must visit every row three times.")


def _shares(algorithm: core.Algorithm) -> bool:
    """Whether all workers write to the state of their tasks, which is one array."""
    return "shared_memory" in algorithm.requires


def _reported(algorithm: core.Algorithm, standing: FitState, rng: np.random.Generator) -> list[core.Report]:
    """Reports of three equal workers."""
    if _shares(algorithm):
        outsets = [algorithm.start_state(standing, worker) for worker in range(3)]
        must(
            all(start_state is outsets[0] for start_state in outsets),
            "Workers that share memory must be sent one array.",
        )
        must(not np.shares_memory(outsets[0], standing.state), "Workers may not write to the state the driver keeps.")
        return [small_report(worker, start_state) for worker, start_state in enumerate(outsets)]
    # a slope has the weight of its examples as its last element
    size = standing.state.size + (algorithm.message == "gradient")
    return [small_report(worker, np.abs(rng.standard_normal(size))) for worker in range(3)]


def _check_combine(algorithm: core.Algorithm) -> None:
    rng = np.random.default_rng(SEED)
    model = small_model()
    start = rng.standard_normal(model.size)
    standing = _standing(algorithm, model, start)
    remembered = pickle.dumps(standing.memory)
    reports = _reported(algorithm, standing, rng)
    kept = pickle.loads(pickle.dumps((start, reports)))
    merge = algorithm.merge(standing, reports)
    again = algorithm.merge(standing, reports)
    must(np.array_equal(merge.state, again.state), "merge must be pure: the same reports, the same state.")
    unchanged = np.array_equal(start, kept[0]) and all(
        np.array_equal(report.state, old.state) for report, old in zip(reports, kept[1], strict=True)
    )
    must(unchanged, "merge must be pure: it must not write to the state or to the reports.")
    must(pickle.dumps(standing.memory) == remembered, "merge must be pure: it must not write to its memory.")
    must(np.shape(merge.weights) == (3,), "merge must say the weight of each report.")
    equal = merge.weights
    if algorithm.n_probe_rows(small_source().n_rows * 1000):
        # one that looks at rows may see that states of equal work are not of equal worth
        alike = [replace(report, state=reports[0].state) for report in reports]
        equal = algorithm.merge(standing, alike).weights
    must(np.ptp(equal) < 1e-12, f"Equal workers must count alike; the weights are {equal}.")
    following = replace(standing, state=merge.state, memory=merge.memory, round=1)
    sent = [algorithm.start_state(following, worker) for worker in range(3)]
    if _shares(algorithm):
        # one array, and nobody has moved it yet
        alone = algorithm.merge(standing, reports[:1]).state
        must(np.array_equal(alone, start), "A single report's state must come back bit for bit.")
    else:
        must(all(np.shape(state) == start.shape for state in sent), "A worker must set out from a state.")
    if algorithm.message == "state" and not _shares(algorithm):
        _check_states(algorithm, standing, reports)
    idle = replace(reports[2], steps=0, examples=0, log_contraction=0.0)
    weights = algorithm.merge(standing, [*reports[:2], idle]).weights
    must(weights[2] == 0.0, "A worker that made no step must not count.")
    nobody = [replace(report, steps=0, examples=0, log_contraction=0.0) for report in reports]
    must(np.array_equal(algorithm.merge(standing, nobody).state, start), "If nobody moved, the state must stay.")


def _check_states(algorithm: core.Algorithm, standing: FitState, reports: list[core.Report]) -> None:
    """What holds of merged states: an average of one is that one, and who goes nowhere draws nobody away."""
    for place in (standing, _standing(algorithm, standing.model, standing.state, n_workers=1)):
        alone = algorithm.merge(place, reports[:1])
        # with a smaller weight, something else is in the merge: the state before, or a centre
        if alone.weights[0] == 1.0:
            must(np.array_equal(alone.state, reports[0].state), "A single report's state must come back bit for bit.")
    still = algorithm.merge(standing, [replace(report, state=standing.state) for report in reports]).state
    must(np.allclose(still, standing.state, rtol=1e-12), "If every worker arrived where it began, the state must stay.")


def _standing(
    algorithm: core.Algorithm, model: core.Model, state: np.ndarray, shards: Any = (), n_workers: int = 3
) -> FitState:
    """Where a fit by three workers (or as many as there are shards) would begin."""
    n_workers, zero = len(shards) or n_workers, np.zeros(model.n_outputs)
    standing = FitState(
        model, state, n_workers, small_source().n_rows, max_epochs=2, sample=small_source().rows,
        cursors=(0,) * n_workers, shard_rows=tuple(shard.n_rows for shard in shards) or (20,) * n_workers,
        tasks=tuple(Task(worker, 0, state, SEED, Budget(10), lr_scale=zero + 1.0) for worker in range(n_workers)),
    )  # fmt: skip
    return replace(standing, memory=algorithm.init_memory(standing))


def _check_work(algorithm: core.Algorithm) -> None:
    model = small_model()
    shards = small_source().split(2, SEED, algorithm.partition)
    standing = _standing(algorithm, model, model.init(0), shards)
    budget = algorithm.budget(standing, 1)
    if algorithm.one_shot:
        budget = replace(budget, stopping=StoppingRule(tol=None))

    def task() -> Task:
        start_state = algorithm.start_state(_standing(algorithm, model, model.init(0), shards), 1)
        return Task(1, 0, start_state, 3, budget, n_workers=2, source_rows=small_source().n_rows)

    first = task()
    before = first.state.copy()
    report = algorithm.run(model, shards[1], first, no_progress)
    must((report.worker, report.round) == (1, 0), "A report must carry the worker and the round of its task.")
    if _shares(algorithm):
        must(not _same(first.state, before), "work on shared memory must move the task's state itself.")
        must(report.state is first.state, "A report of work on shared memory must hold the array that was shared.")
    else:
        must(_same(first.state, before), "work must not write to the task's state.")
    must(0 < report.examples <= budget.examples, "work must keep to its budget of examples.")
    repeated = algorithm.run(model, shards[1], task(), no_progress)
    if budget.seconds is None:
        must(_same(report.state, repeated.state), "A task carries all it takes to repeat it, bit for bit.")
    halted = algorithm.run(model, shards[1], task(), lambda worker, examples, sgd_run: False)
    must(halted.examples <= report.examples, "work must end early when the pulse says so.")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit: what is shared besides the state may be no numbers."""
    return one.tobytes() == other.tobytes()
