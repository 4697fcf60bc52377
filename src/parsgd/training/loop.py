"""Training loop: check compatibility, split the rows, open the engine, then send, receive and merge until the fit ends.

The loop uses the four axes only through their contracts.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from parsgd.core import Algorithm, Engine, Model, Source, Work, has_worker_state
from parsgd.errors import DivergedError, NoStepsWarning, Outcome, ShardSkewWarning, diverged
from parsgd.training import shard_skew
from parsgd.training.compatibility import refuse_sampling, refuse_unoffered
from parsgd.training.fit_result import INTERRUPTED_LATE, EpochCallback, Fit, warn_diverged
from parsgd.training.loop_snapshot import take_snapshot
from parsgd.training.reporting.progress import ProgressTracker
from parsgd.training.rounds import Loop
from parsgd.training.schedule_advance import worker_seed
from parsgd.training.single_worker_fit import fit_one_worker
from parsgd.training.snapshot import Checkpointer
from parsgd.training.stopping import StoppingRule
from parsgd.utils import blas_threads, interrupts
from parsgd.utils.callers import warn


def fit(
    model: Model,
    algorithm: Algorithm,
    engine: Engine,
    source: Source,
    *,
    n_workers: int = 1,
    seed: int = 1,
    max_epochs: int = 1,
    stopping: StoppingRule | None = None,
    state: np.ndarray | None = None,
    owns_state: bool = False,
    schedule_step: float = 1.0,
    checkpointer: Checkpointer | None = None,
    epoch_callback: EpochCallback | None = None,
) -> Fit:
    """Fit ``model`` with ``algorithm`` on ``engine`` to the rows of ``source``.

    Parameters
    ----------
    model, algorithm, engine, source
        Objects with the contracts of :mod:`parsgd.core`.
    n_workers : int
        Number of workers.
    seed : int
        Seed of the fit.
    max_epochs : int
        Maximum number of epochs.
    stopping : StoppingRule or None
        None: run all epochs.
    state : ndarray or None
        Start state; None: ``model.init(seed)``.
    owns_state : bool
        True if the fit may modify ``state``.
    schedule_step : float
        Start of the learning-rate schedule.
    checkpointer : Checkpointer or None
        Object that stores snapshots.  If it has one of this fit, the fit resumes from it.
    epoch_callback : callable or None
        Called at the end of every epoch on the driver, and at the end of the fit; returns True to stop.

    Raises
    ------
    IncompatiblePartsError
        If a capability required by the algorithm is missing, or the source does not offer its partition.  Raised before
        any worker starts.
    WorkersLostError
        If no worker is left, or the rows of one worker fail repeatedly.
    DivergedError
        If parameters become NaN or infinite; the message names the round and the epoch.
    """
    traits = algorithm.traits
    refuse_unoffered(model, algorithm, engine)
    refuse_sampling(algorithm, source)
    sample = None
    n_probe = algorithm.n_probe_rows(source.n_rows) if n_workers > 1 else 0
    if n_probe:
        sample, rest = source.draw(n_probe, seed)
        source = rest if traits.holds_out else source
    if n_workers == 1 and traits.one_shot and checkpointer is None and engine.in_calling_thread:
        owned = (state is None or owns_state) and traits.may_overwrite_start
        state = model.init(seed) if state is None else state
        stopping = stopping or StoppingRule(tol=None)
        return fit_one_worker(model, algorithm, source, seed, max_epochs, stopping, state, schedule_step, owned)
    shards = source.split(n_workers, seed, traits.partition)
    if traits.partition == "contiguous" and n_workers > 1:
        message = shard_skew.skew_warning(shards, [worker_seed(seed, worker) for worker in range(n_workers)])
        if message is not None:
            warn(message, ShardSkewWarning)
    # BLAS calls of the driver leave BLAS threads spinning for some milliseconds, on the cores of the next round:
    # 2 workers on covtype's 7 classes took twice as long
    with blas_threads.one_thread() if model.uses_blas or n_workers > 1 else nullcontext():
        progress = ProgressTracker(n_workers, source.n_rows * max_epochs, max_epochs)
        loop = Loop(
            model=model,
            algorithm=algorithm,
            source=source,
            n_workers=n_workers,
            seed=seed,
            max_epochs=max_epochs,
            stopping=(stopping or StoppingRule(tol=None)).fresh(),
            shards=shards,
            sample=sample,
            state=model.init(seed) if state is None else state,
            schedule_step=schedule_step,
            progress=progress,
            checkpointer=checkpointer,
            epoch_callback=epoch_callback,
            sends_worker_states=engine.on_cluster,
            returns_worker_states=has_worker_state(model) and (checkpointer is not None or engine.on_cluster),
        )
        # the driver keeps no reference to the start state; only the loop and the last snapshot hold a state
        del state
        outcome = loop.resume(checkpointer) if checkpointer is not None else None
        if outcome is None:
            outcome = _run(loop, engine)
    progress.notify(loop.history[-1]["loss"], done=True)
    if traits.message == "gradient" and loop.schedule_step == schedule_step and outcome is not Outcome.INTERRUPTED:
        warn(
            f"The fit made no step: algorithm={algorithm.name!r} collected too few gradients in {max_epochs} passes."
            " Use a smaller batch_size, fewer workers or more passes.",
            NoStepsWarning,
        )
    warn_diverged(outcome, loop.epochs)
    state = loop.best_state
    if not model.finite(state):
        what = f"the parameters became NaN or infinite in round {loop.history[-1]['round']}, the last one"
        raise diverged(model.divergence, max(loop.epochs, 1), what)
    if checkpointer is not None and outcome is not Outcome.INTERRUPTED:
        checkpointer.end(take_snapshot(loop, loop.seconds, outcome))
    return loop.result(outcome, state)


def _run(loop: Loop, engine: Engine) -> Outcome:
    """Run the rounds on an open pool, and close the pool in every case."""
    progress, model = loop.progress, loop.model
    with interrupts.scope() as scope:
        scope.hold(progress.halt)
        pool = engine.open(Work(loop.algorithm, model), loop.shards, progress)
        try:
            outcome = loop.run(pool)
        except DivergedError:
            if loop.stopping.best_state is None:
                scope.defer_next()
                raise
            outcome = Outcome.DIVERGED
        except BaseException:
            scope.defer_next()
            if loop.checkpointer is not None:
                loop.checkpointer.rescue()
            raise
        finally:
            progress.halt()
            scope.defer_next()
            pool.close()
            scope.finalize()
        ended = Outcome.INTERRUPTED.value if outcome is Outcome.INTERRUPTED else INTERRUPTED_LATE
        scope.message = f"{ended} ({loop.examples} examples visited.)"
    if outcome is Outcome.INTERRUPTED and loop.checkpointer is not None:
        # keep the previous snapshot: the last round was cut short, so resuming from it would be a different fit
        loop.checkpointer.rescue()
    return outcome
