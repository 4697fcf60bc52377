"""What ``n_jobs=None``, ``engine="auto"`` and ``algorithm="auto"`` stand for, decided from the sizes of the data."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import joblib

from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.errors import InvalidArgumentError, TooFewRowsWarning
from parsgd.estimators.cost_estimates import NetworkSize, ProblemSize, costs_of, costs_on, rounds_of
from parsgd.model_io.packing import is_part
from parsgd.registry import ALGORITHMS, ENGINES, resolve
from parsgd.training.cost_model import fit_seconds, round_seconds
from parsgd.utils.callers import warn

# An epoch shorter than this a worker is not worth a thread: a round costs about 0.5 ms of threads and merging.
_SECONDS_WORTH_A_WORKER = 2e-3
# Several workers must promise to take less than this part of one worker's time: these are guesses.
_WORTH_SHARING = 0.8
# Averages of linear models are as many as are worth having for so many passes, and then half as many in each further
# one; with more workers than the third number, for the second number of passes.  Measured on covtype, adult and
# enron_spam with 2 and 8 workers, 8 seeds: passes to serial's loss grow by 0 to 10 %, the loss after 5 by 0 to 1 %.
_THINNED_AFTER, _OF_MANY_AFTER, _FEW_WORKERS = 2, 3, 4
# One average at the end of workers with fewer rows than this loses accuracy.  Digits: 0.926 for 0.946 with 84 rows per
# worker, 0.897 with 21; diabetes: R^2 0.239 for 0.355 with 82 rows, 0.110 with 20 (SGD's defaults, means of 4 splits).
_FEWEST_ROWS_OF_AN_AVERAGE = 100
# With fewer rows per worker, ``algorithm="auto"`` fits one-against-all classifiers by one worker, as scikit-learn does
# with any n_jobs: a pass over so few rows takes less time than a round.
_FEW_ROWS_OF_CLASSES = 200
# What an object must have to be taken for an algorithm.
_VERBS = ("run", "quorum", "merge")


@dataclass(frozen=True)
class Choice:
    """The algorithm that runs, and why it was picked."""

    name: str
    why: str
    algorithm: Any
    n_workers: int

    def __str__(self) -> str:
        return f"{self.name} on {self.n_workers} worker{'s' * (self.n_workers > 1)}: {self.why}"


def choose_parts(estimator: Any, size: ProblemSize | NetworkSize) -> tuple[Choice, Any]:
    """The algorithm and the engine that an estimator's ``n_jobs``, ``algorithm`` and ``engine`` stand for."""
    who = type(estimator).__name__
    engine = estimator.engine
    if isinstance(engine, str) and engine != "auto":
        engine = choose_engine(engine, 1, who)
    averages = _averages(estimator.algorithm, who)
    n_jobs = estimator.n_jobs
    n_workers, why = _crew(engine, n_jobs, who) or count_workers(n_jobs, size, who, averages, engine)
    choice = choose_algorithm(estimator.algorithm, n_workers, why, size, who, engine)
    return choice, choose_engine(engine, choice.n_workers, who, choice.algorithm.requires)


def _crew(engine: Any, n_jobs: int | None, who: str) -> tuple[int, str] | None:
    """The workers of an engine that has so many and no others (``Engine.n_workers``), and why; or None."""
    has = getattr(engine, "n_workers", None)
    if has is not None and n_jobs not in (None, has):
        raise InvalidArgumentError(
            f"The 'n_jobs' parameter of {who} must be None or {has}, as many workers as engine={engine.name!r} was"
            f" given. Got {n_jobs!r} instead."
        )
    return None if has is None else (has, f"the engine has {has} workers")


def _averages(algorithm: Any, who: str) -> bool:
    """Whether workers may end up as averages; on shared memory they have nothing to average."""
    if isinstance(algorithm, str) and algorithm == "auto":
        return True
    return "shared_memory" not in resolve({**ALGORITHMS, "auto": ""}, algorithm, "algorithm", who, _VERBS).requires


def count_workers(
    n_jobs: int | None, size: ProblemSize | NetworkSize, who: str, averages: bool = True, engine: Any = None
) -> tuple[int, str]:
    """The number of workers, and why.

    A positive ``n_jobs`` is obeyed.  None and negative ones take as many workers as help, up to a limit
    (:func:`_limit`): no more than have 2 ms of work each, and fewer where averages of so many would do harm
    (``size.too_many``).  So a model of few rows is the same on every machine.
    """
    if n_jobs is not None and n_jobs > 0:
        return int(n_jobs), f"n_jobs={n_jobs}"
    on_cluster, wanted = hasattr(engine, "default_workers"), int(size.epoch_seconds / _SECONDS_WORTH_A_WORKER)
    if wanted <= 1 and n_jobs != 0 and not on_cluster:
        return 1, "one pass over these data takes too little time to share"
    most, why = _limit(n_jobs, who, engine)
    if most == 1:
        return 1, why
    # the rows of a cluster may be more than one of its machines can hold, however quickly one would read them
    paying = most if on_cluster else min(most, wanted)
    if not averages:
        return paying, f"one pass takes about {1e3 * size.epoch_seconds:.0f} ms on one core"
    while paying > 1 and (harm := size.too_many(paying)):
        paying -= 1
    if paying == 1:
        return 1, harm
    return (paying, why) if on_cluster else _quickest(paying, size, engine)


def _limit(n_jobs: int | None, who: str, engine: Any) -> tuple[int, str]:
    """The largest number of workers that may be taken where none is given, and why.

    One inside another parallel loop; otherwise the cores, or the threads of the engine's cluster
    (``Engine.default_workers``), or what is left of them by a negative ``n_jobs`` or by :func:`joblib.parallel_config`.
    """
    if n_jobs == 0:
        raise InvalidArgumentError(
            f"The 'n_jobs' parameter of {who} must not be 0: 1 is serial, -1 takes up to all cores, None decides."
        )
    backend, configured = joblib.parallel.get_active_backend()
    if getattr(backend, "nesting_level", 0) or _inside_dask_task():
        return 1, "another parallel loop is already running"
    if hasattr(engine, "default_workers"):
        available = engine.default_workers()
        why = f"the cluster has {available} thread{'s' * (available > 1)}"
    else:
        available = joblib.cpu_count()
        why = f"there {'are' if available > 1 else 'is'} {available} core{'s' * (available > 1)}"
    asked = configured if n_jobs is None else n_jobs
    if asked is None:
        return available, why
    source = f"n_jobs={n_jobs}" if n_jobs is not None else f"joblib's configuration says n_jobs={configured}"
    left = asked if asked > 0 else available + 1 + asked
    return max(1, min(left, available)), f"{source}, and {why}"


def _inside_dask_task() -> bool:
    """Whether a Dask worker runs this as one of its tasks: joblib's backend on Dask counts no nesting."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except (AttributeError, ValueError):
        return False
    return True


def _quickest(most: int, size: ProblemSize | NetworkSize, engine: Any) -> tuple[int, str]:
    """The number of workers, up to ``most``, with the shortest predicted pass, its averages included.

    That K workers who step as far as a sample says need no more passes than one, and often fewer, is what
    docs/results/family.md shows; how many fewer, only :func:`parsgd.plan` can tell.
    """
    costs = costs_on(engine, size, most) if hasattr(engine, "message_costs") else costs_of(size, most)

    def predicted(n: int) -> float:
        # with fewer rounds than that accuracy suffers
        rounds = max(rounds_of(costs, n, size), size.rounds(n)[1]) if n > 1 else 0
        return fit_seconds(costs, n, 1.0, rounds, size.combine_seconds)

    seconds = {n: predicted(n) for n in range(1, most + 1)}
    best = min(seconds, key=lambda n: (seconds[n], n))
    if seconds[best] > _WORTH_SHARING * seconds[1]:
        each = round_seconds(costs, 2, size.combine_seconds)
        return 1, f"averages take about {1e3 * each:.1f} ms each, one worker's pass {1e3 * seconds[1]:.1f} ms"
    return best, f"one pass takes about {1e3 * size.epoch_seconds:.0f} ms on one core"


def warn_of_few_rows(n_jobs: int | None, choice: Choice, n_rows: int) -> None:
    """Warn where ``n_jobs`` asks for so many workers that the average of their models is worse than one worker's model.

    An adaptive outer step makes up for it, and an algorithm whose workers draw from all rows does no such harm.
    """
    algorithm, rows = choice.algorithm, n_rows // choice.n_workers
    if n_jobs is None or n_jobs <= 1 or rows >= _FEWEST_ROWS_OF_AN_AVERAGE or not _averages_shards(algorithm):
        return
    most = n_rows // _FEWEST_ROWS_OF_AN_AVERAGE
    fewer = f"n_jobs={most} or fewer" if most > 1 else "n_jobs=1"
    warn(
        f"n_jobs={n_jobs} leaves each worker {rows} of {n_rows} rows, and an average of models of so few rows usually"
        f" predicts worse than the model of one worker. Use n_jobs=None, which takes as many workers as help, {fewer},"
        " or algorithm=parsgd.LocalSGD(outer_optimizer='adaptive').",
        TooFewRowsWarning,
    )


def _averages_shards(algorithm: Any) -> bool:
    """Whether an algorithm of parsgd averages models of separate rows, and nothing makes up for their shorter runs."""
    outer_optimizer = getattr(algorithm, "outer_optimizer", None)
    adaptive = outer_optimizer == "adaptive" or isinstance(outer_optimizer, Adaptive)
    if adaptive or not is_part(algorithm) or "shared_memory" in algorithm.requires:
        return False
    return algorithm.message == "state" and algorithm.partition in ("shuffled", "contiguous")


def choose_algorithm(
    algorithm: Any, n_workers: int, why_workers: str, size: ProblemSize | NetworkSize, who: str, engine: Any = None
) -> Choice:
    """Resolve the ``algorithm`` argument; "auto" asks an engine that has ``costs`` what a pass and a round take."""
    if not (isinstance(algorithm, str) and algorithm == "auto"):
        names = {**ALGORITHMS, "auto": ""}
        part = resolve(names, algorithm, "algorithm", who, _VERBS)
        return Choice(part.name, "asked for", part, n_workers)
    if n_workers == 1:
        return Choice("serial", f"serial SGD ({why_workers})", SimuParallel(), 1)
    if getattr(size, "one_against_all", False) and engine == "auto" and size.n_rows < _FEW_ROWS_OF_CLASSES * n_workers:
        # scikit-learn's n_jobs shares out the classes, which changes no model
        why = f"serial SGD for all classes at once: {size.n_rows} rows are too few for {n_workers} workers"
        return Choice("serial", f"{why} ({why_workers})", SimuParallel(), 1)
    return _adaptive(n_workers, why_workers, size, engine)


def _adaptive(n_workers: int, why_workers: str, size: ProblemSize | NetworkSize, engine: Any) -> Choice:
    """Local SGD with an adaptive outer step, and as many rounds as are worth their time."""
    costs = costs_on(engine, size, n_workers)
    each = round_seconds(costs, n_workers, size.combine_seconds)
    if size.convex and each > costs.pass_s:
        times = f"about {1e3 * each:.1f} ms, one worker's pass over all rows {1e3 * costs.pass_s:.1f} ms"
        why = f"one average at the end, because averaging takes {times} ({why_workers})"
        return Choice("simuparallel", why, SimuParallel(), n_workers)
    rounds = rounds_of(costs, n_workers, size)
    times = "once" if rounds == 1 else f"{rounds} times"
    after = _THINNED_AFTER if n_workers <= _FEW_WORKERS else _OF_MANY_AFTER
    seldomer = after if size.convex and rounds > 1 else None
    later = f", seldomer after {seldomer} passes" if seldomer else ""
    why = f"average {times} a pass{later}, in steps as long as the loss on {size.looked_at} rows says ({why_workers})"
    part = LocalSGD(sync_every=1.0 / rounds, outer_optimizer=Adaptive(size.looked_at), lengthen_after_epochs=seldomer)
    return Choice("local", why, part, n_workers)


def choose_engine(engine: Any, n_workers: int, who: str, requires: Collection[str] = ()) -> Any:
    """Resolve the ``engine`` argument: "auto" is serial for one worker, unless the algorithm needs shared memory, and
    threads for more."""
    if isinstance(engine, str) and engine == "auto":
        alone = n_workers == 1 and "shared_memory" not in requires
        engine = "serial" if alone else "threads"
    return resolve({**ENGINES, "auto": ""}, engine, "engine", who, ("open", "capabilities"))
