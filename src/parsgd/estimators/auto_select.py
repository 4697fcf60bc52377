"""Automatic choice of workers, engine and algorithm from the data size."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import joblib

from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.core import Algorithm, Engine, EngineDefaults
from parsgd.errors import InvalidArgumentError, TooFewRowsWarning
from parsgd.estimators.cost_estimates import (
    ProblemSize,
    adaptive_rounds,
    costs_on,
    driver_seconds,
    plain_rounds,
    rounds_of,
    thread_seconds,
)
from parsgd.model_io.packing import is_part
from parsgd.registry import ALGORITHMS, ENGINES, resolve
from parsgd.training.cost_model import fit_seconds, round_seconds
from parsgd.utils.callers import warn

# A worker needs at least this much work per epoch: a round costs about 0.5 ms of thread wake-ups and merging.
_MIN_SECONDS_PER_WORKER = 2e-3
# Several workers must be predicted to take less than this fraction of one worker's time. The predictions are guesses.
_MAX_TIME_RATIO = 0.8
# Linear models: after this many passes (second number: with more workers than the third) rounds double in length with
# each further pass. Measured on covtype, adult and enron_spam with 2 and 8 workers, 8 seeds: passes to serial's loss
# grow by 0 to 10 %, the loss after 5 by 0 to 1 %.
_LENGTHEN_AFTER, _LENGTHEN_AFTER_MANY, _FEW_WORKERS = 2, 3, 4
# One average at the end loses accuracy when workers have fewer rows than this. Digits: 0.926 for 0.946 with 84 rows per
# worker, 0.897 with 21; diabetes: R^2 0.239 for 0.355 with 82 rows, 0.110 with 20 (SGD's defaults, means of 4 splits).
_MIN_ROWS_PER_WORKER = 100
# Plain means of two workers need about as many passes as one worker with 131,000 rows per worker (nycflights_late), but
# 1.7 times as many with 16,000 (adult) and twice as many with 6,400 (news20), at the best rate of each and to the same
# loss (benchmarks/second_core.py).
_MIN_ROWS_OF_PLAIN_MEANS = 20_000
# AdaGrad on text: with more workers than this, averages per coordinate need fewer passes (docs/performance.md).
_MAX_UNIFORM_WORKERS = 2
# With fewer rows per worker, ``algorithm="auto"`` fits one-against-all classifiers on one worker, as scikit-learn does
# for any n_jobs: a pass over that few rows takes less time than a round.
_MIN_ROWS_ONE_VS_ALL = 200


@dataclass(frozen=True)
class Choice:
    """The chosen algorithm and worker count, and the reason.

    ``rate_factor`` multiplies the rate of AdaGrad.
    """

    name: str
    why: str
    algorithm: Any
    n_workers: int
    rate_factor: float = 1.0

    def __str__(self) -> str:
        return f"{self.name} on {self.n_workers} worker{'s' * (self.n_workers > 1)}: {self.why}"


def choose_parts(estimator: Any, size: ProblemSize) -> tuple[Choice, Any]:
    """Resolve an estimator's ``n_jobs``, ``algorithm`` and ``engine`` to an algorithm and an engine."""
    who = type(estimator).__name__
    automatic = isinstance(estimator.engine, str) and estimator.engine == "auto"
    engine = None if automatic else choose_engine(estimator.engine, 1, who)
    part, n_jobs = _algorithm(estimator.algorithm, who), estimator.n_jobs
    # on shared memory there are no separate models to average
    averages = part is None or "shared_memory" not in part.traits.requires
    is_limit = part is None and _is_in_process(engine, size)
    n_workers, why = _engine_workers(engine, n_jobs, who) or count_workers(
        n_jobs, size, who, averages, engine, is_limit
    )
    choice = choose_algorithm(estimator.algorithm if part is None else part, n_workers, why, size, who, engine)
    if engine is None:
        engine = choose_engine("auto", choice.n_workers, who, choice.algorithm.traits.requires)
    return choice, engine


def _engine_workers(engine: Engine | None, n_jobs: int | None, who: str) -> tuple[int, str] | None:
    """Return the engine's fixed worker count (``Engine.n_workers``) with the reason, or None if the count is free."""
    if engine is None or engine.n_workers is None:
        return None
    has = engine.n_workers
    if n_jobs not in (None, has):
        raise InvalidArgumentError(
            f"The 'n_jobs' parameter of {who} must be None or {has}, the worker count of engine={engine.name!r}."
            f" Got {n_jobs!r} instead."
        )
    return has, f"the engine has {has} workers"


def _algorithm(algorithm: Any, who: str) -> Algorithm | None:
    """Resolve the ``algorithm`` argument; return None for "auto"."""
    if isinstance(algorithm, str) and algorithm == "auto":
        return None
    return resolve({**ALGORITHMS, "auto": ""}, algorithm, "algorithm", who, ("traits", "run", "quorum", "merge"))


def count_workers(
    n_jobs: int | None,
    size: ProblemSize,
    who: str,
    averages: bool = True,
    engine: Engine | None = None,
    is_limit: bool = False,
) -> tuple[int, str]:
    """Return the number of workers and the reason; ``engine`` is None if it is still to be chosen.

    A positive ``n_jobs`` is taken as is, or is a limit if ``is_limit``: ``algorithm="auto"`` uses fewer workers where
    more are predicted to take longer.  With None or a negative value the limit is that of :func:`_limit`.  Further
    limits are 2 ms of work per worker, and ``size.reason_against``.  A small data set therefore gets the same count on
    every machine.
    """
    if n_jobs is not None and n_jobs > 0 and (not is_limit or n_jobs == 1):
        return int(n_jobs), f"n_jobs={n_jobs}"
    on_cluster = engine is not None and engine.on_cluster
    useful = int(size.epoch_seconds / _MIN_SECONDS_PER_WORKER)
    if useful <= 1 and n_jobs != 0 and not on_cluster:
        return 1, "one pass over these data is too short to divide among workers"
    limit, why = (n_jobs, f"n_jobs={n_jobs}") if n_jobs is not None and n_jobs > 0 else _limit(n_jobs, who, engine)
    if limit == 1:
        return 1, why
    # cluster data may exceed one machine's memory, so speed alone does not limit the count
    n_workers = limit if on_cluster else min(limit, useful)
    if not averages:
        return n_workers, f"one pass takes about {1e3 * size.epoch_seconds:.0f} ms on one core"
    while n_workers > 1 and (harm := size.reason_against(n_workers)):
        n_workers -= 1
    if n_workers == 1:
        return 1, harm
    return (n_workers, why) if on_cluster else _fastest(n_workers, size, engine)


def _limit(n_jobs: int | None, who: str, engine: Engine | None) -> tuple[int, str]:
    """Return the largest automatic worker count and the reason.

    The limit is 1 inside another parallel loop. Otherwise it is the number of cores, or of the cluster's threads
    (``Engine.default_workers``). A negative ``n_jobs`` or :func:`joblib.parallel_config` reduces it.
    """
    if n_jobs == 0:
        raise InvalidArgumentError(
            f"The 'n_jobs' parameter of {who} must not be 0: 1 is serial, -1 uses up to all cores, None is automatic."
        )
    backend, configured = joblib.parallel.get_active_backend()
    if getattr(backend, "nesting_level", 0) or _inside_dask_task() or _inside_ray_task():
        return 1, "another parallel loop is already running"
    available = joblib.cpu_count() if engine is None else engine.default_workers()
    if engine is not None and engine.on_cluster:
        why = f"the cluster has {available} thread{'s' * (available > 1)}"
    else:
        why = f"there {'are' if available > 1 else 'is'} {available} core{'s' * (available > 1)}"
    requested = configured if n_jobs is None else n_jobs
    if requested is None:
        return available, why
    source = f"n_jobs={n_jobs}" if n_jobs is not None else f"joblib.parallel_config sets n_jobs={configured}"
    left = requested if requested > 0 else available + 1 + requested
    return max(1, min(left, available)), f"{source}, and {why}"


def count_threads(n_jobs: int | None, engine: str | Engine, who: str) -> int:
    """Return the number of threads for work beside the SGD steps, as predictions: ``n_jobs``, at most the cores.

    It is 1 inside another parallel loop, and with the serial engine.
    """
    serial = (engine if isinstance(engine, str) else engine.name) == "serial"
    return 1 if serial or n_jobs == 0 else _limit(n_jobs, who, None)[0]


def count_scoring_threads(n_jobs: int | None, engine: Engine, choice: Choice, who: str) -> int:
    """Return the number of threads for validation scores during a fit: the workers wait for the driver meanwhile.

    The workers of a one-shot algorithm compute their scores themselves.
    """
    if choice.n_workers == 1 or choice.algorithm.traits.one_shot:
        return 1
    return min(choice.n_workers, count_threads(n_jobs, engine, who))


def _inside_dask_task() -> bool:
    """Return True inside a Dask task; joblib's Dask backend does not count nesting."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except (AttributeError, ValueError):
        return False
    return True


def _inside_ray_task() -> bool:
    """Return True inside a task or an actor of Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE


def _fastest(limit: int, size: ProblemSize, engine: Engine | None) -> tuple[int, str]:
    """Return the worker count up to ``limit`` with the shortest predicted pass, merges included.

    The prediction takes the passes of one worker for any number of workers.  Several tuned workers may need more
    (docs/results/family.md). :func:`parsgd.plan` measures the difference.
    """
    if _is_in_process(engine, size):
        seconds = {n: predict_seconds(size, n) for n in range(1, limit + 1)}
    else:
        costs = costs_on(engine, size, limit)
        rounds = {n: max(rounds_of(costs, n, size), size.rounds(n)[1]) for n in range(2, limit + 1)}
        seconds = {1: costs.pass_s}
        seconds |= {n: fit_seconds(costs, n, 1.0, rounds[n], driver_seconds(size, n)) for n in rounds}
    best = min(seconds, key=lambda n: (seconds[n], n))
    if seconds[best] > _MAX_TIME_RATIO * seconds[1]:
        several = min(range(2, limit + 1), key=seconds.__getitem__)
        why = f"one pass takes about {1e3 * seconds[1]:.1f} ms on one core"
        return 1, f"{why}, and {1e3 * seconds[several]:.1f} ms with {several} workers"
    return best, f"one pass takes about {1e3 * size.epoch_seconds:.0f} ms on one core"


def _is_in_process(engine: Engine | None, size: ProblemSize) -> bool:
    """Return True if the workers have this process's memory: threads, the serial engine, or an engine to be chosen."""
    if engine is None:
        return True
    if engine.on_cluster or engine.n_workers is not None:
        return False
    return engine.costs(size.n_rows, size.n_parameters) is None and engine.message_costs(size.n_parameters) is None


def predict_seconds(size: ProblemSize, n_workers: int) -> float:
    """Return the predicted seconds of a pass on threads with the algorithm that ``"auto"`` chooses for them."""
    return thread_seconds(size, n_workers, not _averages_plainly(size, n_workers))


def _averages_plainly(size: ProblemSize, n_workers: int) -> bool:
    """Return True if plain means are as accurate as one worker, and faster than adaptive steps.

    With AdaGrad they are at :func:`_rate_factor` times the rate.  On sparse data with many rows two workers' mean has
    the test loss of one worker after the same passes, and adaptive steps take long with many features.
    """
    if not size.convex or size.adagrad:
        return size.adagrad
    if not size.sparse or n_workers != 2 or size.n_rows < n_workers * _MIN_ROWS_OF_PLAIN_MEANS:
        return False
    return thread_seconds(size, 2) > _MAX_TIME_RATIO * thread_seconds(size, 1)


def _rate_factor(size: ProblemSize, n_workers: int) -> float:
    """Return the factor of AdaGrad's rate for which a mean of K workers makes the progress of one worker.

    AdaGrad's steps sum to about ``2 eta sqrt(n)`` after n equal gradients.  The mean of K workers with ``n / K``
    gradients each has moved by ``2 eta sqrt(n / K)``, so the factor is ``sqrt(K)``.
    """
    return n_workers**0.5 if size.adagrad else 1.0


def warn_of_few_rows(n_jobs: int | None, choice: Choice, n_rows: int) -> None:
    """Warn if ``n_jobs`` leaves each worker too few rows for an average to match one worker's model.

    No warning with an adaptive outer optimizer, or with an algorithm whose workers draw from all rows.
    """
    algorithm, rows = choice.algorithm, n_rows // choice.n_workers
    if n_jobs is None or n_jobs <= 1 or rows >= _MIN_ROWS_PER_WORKER or not _averages_shards(algorithm):
        return
    limit = n_rows // _MIN_ROWS_PER_WORKER
    fewer = f"n_jobs={limit} or fewer" if limit > 1 else "n_jobs=1"
    warn(
        f"n_jobs={n_jobs} leaves each worker {rows} of {n_rows} rows, and an average of models of few rows usually"
        f" predicts worse than the model of one worker. Use n_jobs=None, which chooses the worker count, {fewer},"
        " or algorithm=parsgd.LocalSGD(outer_optimizer='adaptive').",
        TooFewRowsWarning,
    )


def _averages_shards(algorithm: Any) -> bool:
    """Return True if a parsgd algorithm averages models of separate rows without an adaptive outer step."""
    outer_optimizer = getattr(algorithm, "outer_optimizer", None)
    adaptive = outer_optimizer == "adaptive" or isinstance(outer_optimizer, Adaptive)
    if adaptive or not is_part(algorithm) or "shared_memory" in algorithm.traits.requires:
        return False
    return algorithm.traits.message == "state" and algorithm.traits.partition in ("shuffled", "contiguous")


def choose_algorithm(
    algorithm: Any,
    n_workers: int,
    why_workers: str,
    size: ProblemSize,
    who: str,
    engine: Engine | None = None,
) -> Choice:
    """Resolve the ``algorithm`` argument.

    "auto" reads the predicted time of a pass and of a round from the engine's ``costs``, where it has them.
    """
    part = _algorithm(algorithm, who)
    if part is not None:
        return Choice(part.name, "asked for", part, n_workers)
    if n_workers == 1:
        return Choice("serial", f"serial SGD ({why_workers})", SimuParallel(), 1)
    if size.one_against_all and engine is None and size.n_rows < _MIN_ROWS_ONE_VS_ALL * n_workers:
        # scikit-learn's n_jobs distributes the classes, which changes no model
        why = f"serial SGD for all classes at once: {size.n_rows} rows are too few for {n_workers} workers"
        return Choice("serial", f"{why} ({why_workers})", SimuParallel(), 1)
    return _local_sgd(n_workers, why_workers, size, engine)


def _local_sgd(n_workers: int, why_workers: str, size: ProblemSize, engine: Engine | None) -> Choice:
    """Choose local SGD with an adaptive outer optimizer, or one final average where merging takes too long."""
    if _is_in_process(engine, size):
        return _compiled_local_sgd(n_workers, why_workers, size)
    costs, factor = costs_on(engine, size, n_workers), _rate_factor(size, n_workers)
    merge_s = round_seconds(costs, n_workers, driver_seconds(size, n_workers))
    if size.convex and merge_s > costs.pass_s:
        times = f"about {1e3 * merge_s:.1f} ms, one worker's pass over all rows {1e3 * costs.pass_s:.1f} ms"
        why = f"one average at the end, because averaging takes {times} ({why_workers})"
        return Choice("simuparallel", why, SimuParallel(), n_workers, factor)
    rounds = rounds_of(costs, n_workers, size)
    if size.adagrad:
        return _plain_local_sgd(n_workers, why_workers, size, rounds)
    times = "once" if rounds == 1 else f"{rounds} times"
    start = _LENGTHEN_AFTER if n_workers <= _FEW_WORKERS else _LENGTHEN_AFTER_MANY
    lengthen_after = start if size.convex and rounds > 1 else None
    later = f", less often after {lengthen_after} passes" if lengthen_after else ""
    why = f"average {times} per pass{later}, with step lengths chosen on {size.n_probe_rows} rows ({why_workers})"
    part = LocalSGD(
        sync_every=1.0 / rounds, outer_optimizer=Adaptive(size.n_probe_rows), lengthen_after_epochs=lengthen_after
    )
    return Choice("local", why, part, n_workers)


def _compiled_local_sgd(n_workers: int, why_workers: str, size: ProblemSize) -> Choice:
    """Choose local SGD whose rounds run in compiled code: merges are cheap, adaptive steps less so."""
    if _averages_plainly(size, n_workers):
        return _plain_local_sgd(n_workers, why_workers, size, plain_rounds(size, n_workers))
    rounds = adaptive_rounds(size, n_workers)
    why = f"average {rounds} times per pass, with step lengths chosen on {size.n_probe_rows} rows ({why_workers})"
    part = LocalSGD(sync_every=1.0 / rounds, outer_optimizer=Adaptive(size.n_probe_rows))
    return Choice("local", why, part, n_workers)


def _plain_local_sgd(n_workers: int, why_workers: str, size: ProblemSize, rounds: int) -> Choice:
    """Choose local SGD with plain means, which AdaGrad makes per coordinate for rare features.

    For two workers, uniform means are as good and take less time.
    """
    times, factor = "once" if rounds == 1 else f"{rounds} times", _rate_factor(size, n_workers)
    rates = f", with rates {factor:.3g} times eta0" if size.adagrad else ""
    by_coordinate = size.adagrad and size.has_rare_features and n_workers > _MAX_UNIFORM_WORKERS
    part = LocalSGD(sync_every=1.0 / rounds, rule="coordinate" if by_coordinate else "uniform")
    means = "average per coordinate" if by_coordinate else "average"
    return Choice("local", f"{means} {times} per pass{rates} ({why_workers})", part, n_workers, factor)


def choose_engine(engine: Any, n_workers: int, who: str, requires: Collection[str] = ()) -> Engine:
    """Resolve the ``engine`` argument.  Raises InvalidArgumentError for an object without all members of an engine.

    "auto" is serial for one worker, unless the algorithm needs shared memory, and threads for more.
    """
    if isinstance(engine, str) and engine == "auto":
        serial = n_workers == 1 and "shared_memory" not in requires
        engine = "serial" if serial else "threads"
    found = resolve({**ENGINES, "auto": ""}, engine, "engine", who, ("open", "capabilities"))
    # the check of a protocol is slow
    if not isinstance(found, EngineDefaults) and not isinstance(found, Engine):
        kind = type(found).__name__
        raise InvalidArgumentError(
            f"The 'engine' parameter of {who} must have all members of parsgd.core.Engine, and {kind} lacks some."
            " Derive it from parsgd.core.EngineDefaults, which has defaults for all but name, capabilities and open."
        )
    return found
