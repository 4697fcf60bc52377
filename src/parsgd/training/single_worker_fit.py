"""Fit with one worker in the calling thread, in one round."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from parsgd.core import Algorithm, Budget, FitState, Model, Source, Task
from parsgd.errors import Outcome
from parsgd.training.fit_result import INTERRUPTED_LATE, Fit, one_shot_outcome, warn_diverged
from parsgd.training.reporting import history_entries
from parsgd.training.reporting.history import History
from parsgd.training.reporting.progress import ProgressTracker
from parsgd.training.schedule_advance import schedule_advance
from parsgd.training.stopping import StoppingRule
from parsgd.utils import blas_threads, interrupts


def fit_one_worker(
    model: Model,
    algorithm: Algorithm,
    source: Source,
    seed: int,
    max_epochs: int,
    stopping: StoppingRule,
    state: np.ndarray,
    schedule_step: float,
    owned: bool,
) -> Fit:
    """Fit with one worker in this thread, in one round.

    The result equals that of the loop, without messages and merges, whose overhead dominates small fits.  The worker
    modifies ``state`` if it is ``owned``.
    """
    traits = algorithm.traits
    shard = source.split(1, seed, traits.partition)[0]
    n_rows, lr_scale, schedule_step = shard.n_rows, np.ones(model.n_outputs), math.ceil(schedule_step - 1e-9)
    progress = ProgressTracker(1, n_rows * max_epochs, max_epochs)
    fit_state = FitState(
        model, state, 1, n_rows, max_epochs, shard_rows=(n_rows,), schedule_step=schedule_step, lr_scale=lr_scale
    )
    memory = algorithm.init_memory(fit_state)
    if memory is not None:
        fit_state = replace(fit_state, memory=memory)
    spec = algorithm.next_task(fit_state, 0)
    task = Task(
        0,
        0,
        state if spec.state is None else spec.state,
        seed,
        Budget(spec.budget.examples, spec.budget.seconds, stopping),
        schedule_step=schedule_step,
        lr_scale=lr_scale * spec.lr_factor,
        source_rows=n_rows,
        schedule_step_size=spec.schedule_step_size,
        owned=owned and spec.state is None,
    )
    began = time.perf_counter()
    with interrupts.scope() as scope, blas_threads.one_thread() if model.uses_blas else nullcontext():
        scope.hold(progress.halt)
        try:
            report = algorithm.run(model, shard, task, progress)
        finally:
            interrupted = progress.halted
            scope.defer_next()
            shard.close()
            scope.finalize()
        outcome = Outcome.INTERRUPTED if interrupted else one_shot_outcome([report], [n_rows * max_epochs])
        ended = Outcome.INTERRUPTED.value if interrupted else INTERRUPTED_LATE
        scope.message = f"{ended} ({report.examples} examples visited.)"
    epochs = max(math.ceil(report.examples / max(n_rows, 1)), 1)
    weights = np.array([float(report.steps > 0)])
    times = {"seconds": time.perf_counter() - began, "merge_seconds": 0.0}
    entry = history_entries.entry(0, report.examples / max(n_rows, 1), [report], [], weights, model.total_loss, **times)
    if stopping.monitor is not None:
        entry["score"] = float(np.mean(stopping.monitor(report.state)))
    if progress.observers:
        progress.end_round(entry["loss"], entry)
        progress.notify(entry["loss"], done=True)
    warn_diverged(outcome, epochs)
    schedule_step += schedule_advance([report], [task], weights, 1, traits.common_schedule_step)
    return Fit(
        report.state,
        outcome,
        History([entry]),
        float(math.ceil(schedule_step - 1e-9)),
        epochs,
        report.lr_scale,
        report.examples,
    )
