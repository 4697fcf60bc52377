"""What ``n_jobs=None``, ``engine="auto"`` and ``algorithm="auto"`` stand for, decided from the sizes of the data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import joblib

from parsgd.algorithms.local import Local
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.errors import InvalidArgument
from parsgd.registry import ALGORITHMS, ENGINES, resolve

# Seconds for a stored value and for a row, one output, one core: benchmarks/linear.py, rounded.
_SECONDS_PER_DENSE_VALUE, _SECONDS_PER_SPARSE_VALUE, _SECONDS_PER_ROW = 0.7e-9, 2.5e-9, 20e-9
# Further outputs share the reading of the row: 16 of them double its time.
_OUTPUTS_THAT_DOUBLE = 16
# Waking the workers and waiting for the last; copying, merging and taking up one parameter: once a round.
_SECONDS_PER_ROUND, _SECONDS_PER_MERGED_PARAMETER = 0.3e-3, 3e-9
# An epoch shorter than this a worker is not worth a thread: a round costs about 0.2 ms of threads and merging.
_SECONDS_WORTH_A_WORKER = 2e-3
# A product's numbers a second on one core, the solver's passes over its slots, what a step costs besides, and what a
# round does: benchmarks/networks.py, rounded.  A stored value's work for one unit of the first layer: measured once, on
# 20,000 sparse rows of 75 values and 100 units.
_FLOPS, _SECONDS_PER_SLOT, _SECONDS_PER_STEP, _SECONDS_PER_SPARSE_UNIT = 80e9, 0.5e-9, 5e-6, 0.3e-9
_SECONDS_PER_NETWORK_ROUND, _SECONDS_PER_NETWORK_PARAMETER = 0.8e-3, 4e-9
# With fewer steps between two averages a worker of a network gets nowhere: a guess, on the careful side.
_FEWEST_STEPS = 10
# Rounds may add this share to the time; more than ten averages a pass gained nothing in the studies.
_ROUNDS_SHARE, _NETWORK_ROUNDS_SHARE, _MOST_ROUNDS = 0.1, 0.05, 10
# At least one average a pass, unless it takes more than this share of a worker's pass.
_DEAREST_ROUND = 0.5


@dataclass(frozen=True)
class Size:
    """What is known of a problem before it is fitted."""

    n_rows: int
    n_values: int
    n_features: int
    n_outputs: int
    sparse: bool = False

    # of a convex objective the mean of solutions is nearly one, too
    convex = True
    rounds_share = _ROUNDS_SHARE

    @property
    def epoch_seconds(self) -> float:
        """Time of a pass on one core, roughly."""
        per_value = _SECONDS_PER_SPARSE_VALUE if self.sparse else _SECONDS_PER_DENSE_VALUE
        reading = self.n_values * per_value + self.n_rows * _SECONDS_PER_ROW
        return reading * (1.0 + (self.n_outputs - 1) / _OUTPUTS_THAT_DOUBLE)

    @property
    def n_parameters(self) -> int:
        return (self.n_features + 1) * self.n_outputs

    @property
    def round_seconds(self) -> float:
        """Time that a round costs beside the work in it, roughly."""
        return _SECONDS_PER_ROUND + self.n_parameters * _SECONDS_PER_MERGED_PARAMETER

    def too_many(self, n_workers: int) -> str | None:
        """Why so many workers would do harm, or None."""
        if self.n_features * n_workers > self.n_rows:
            return "a worker would see fewer rows than there are features: few averages may cost accuracy, many time"
        return None


@dataclass(frozen=True)
class NetworkSize:
    """What is known of a network and its data before it is fitted."""

    n_rows: int
    n_values: int
    layers: tuple[int, ...]
    batch_size: int
    n_slots: int
    sparse: bool = False

    convex = False
    rounds_share = _NETWORK_ROUNDS_SHARE

    @property
    def n_parameters(self) -> int:
        """Numbers in the state: parameters and the solver's slots."""
        return self._weights * (1 + self.n_slots)

    @property
    def round_seconds(self) -> float:
        """Time that a round costs beside the work in it, roughly; the last batch of the other worker included."""
        return _SECONDS_PER_NETWORK_ROUND + self.n_parameters * _SECONDS_PER_NETWORK_PARAMETER

    @property
    def _weights(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.layers))

    @property
    def epoch_seconds(self) -> float:
        """Time of a pass on one core, roughly."""
        products = [i * o for i, o in pairwise(self.layers)]
        # forward, gradient, and backward past every layer but the first: two numbers each
        flops = 2.0 * self.n_rows * (3.0 * sum(products) - products[0])
        seconds = flops / _FLOPS
        if self.sparse:
            seconds -= 4.0 * self.n_rows * products[0] / _FLOPS
            seconds += 2.0 * self.n_values * self.layers[1] * _SECONDS_PER_SPARSE_UNIT
        steps = self.n_rows / self.batch_size
        return seconds + steps * (_SECONDS_PER_STEP + self._weights * self.n_slots * _SECONDS_PER_SLOT)

    def too_many(self, n_workers: int) -> str | None:
        """Why so many workers would do harm, or None."""
        steps = self.n_rows / self.batch_size / n_workers
        if steps < _FEWEST_STEPS:
            return f"a worker would make {steps:.0f} steps a pass: too few between averages"
        part = self.epoch_seconds / n_workers
        if self.round_seconds > _ROUNDS_SHARE * part:
            times = f"about {1e3 * self.round_seconds:.1f} ms, a worker's pass {1e3 * part:.1f} ms"
            return f"an average takes {times}: little time to gain, and on few rows some accuracy to lose"
        return None


@dataclass(frozen=True)
class Choice:
    """The algorithm that runs, and why it was picked."""

    name: str
    why: str
    algorithm: Any
    n_workers: int

    def __str__(self) -> str:
        return f"{self.name} on {self.n_workers} worker{'s' * (self.n_workers > 1)}: {self.why}"


def choose_parts(estimator: Any, size: Size | NetworkSize) -> tuple[Choice, Any]:
    """The algorithm and the engine that an estimator's ``n_jobs``, ``algorithm`` and ``engine`` stand for."""
    who = type(estimator).__name__
    n_workers, why = _crew(estimator.engine, estimator.n_jobs, who) or count_workers(estimator.n_jobs, size, who)
    choice = choose_algorithm(estimator.algorithm, n_workers, why, size, who)
    return choice, choose_engine(estimator.engine, n_workers, who)


def _crew(engine: Any, n_jobs: int | None, who: str) -> tuple[int, str] | None:
    """The workers of an engine that has so many and no others (``Engine.n_workers``), and why; or None."""
    has = getattr(engine, "n_workers", None)
    if has is not None and n_jobs not in (None, has):
        raise InvalidArgument(
            f"The 'n_jobs' parameter of {who} must be None or {has}, as many workers as engine={engine.name!r} was"
            f" given. Got {n_jobs!r} instead."
        )
    return None if has is None else (has, f"the engine has {has} workers")


def count_workers(n_jobs: int | None, size: Size | NetworkSize, who: str) -> tuple[int, str]:
    """How many workers, and why.

    ``None`` means as many as pay: what :func:`joblib.parallel_config` says, one inside another parallel loop, and
    otherwise no more than have 2 ms of work each, and fewer where so many would do harm (``size.too_many``).
    """
    if n_jobs is not None:
        return _explicit(n_jobs, who), f"n_jobs={n_jobs}"
    backend, configured = joblib.parallel.get_active_backend()
    if configured is not None:
        return _explicit(configured, who), f"joblib's configuration says n_jobs={configured}"
    if getattr(backend, "nesting_level", 0):
        return 1, "another parallel loop is already running"
    paying = min(joblib.cpu_count(), int(size.epoch_seconds / _SECONDS_WORTH_A_WORKER))
    if paying <= 1:
        return 1, "one pass over these data takes too little time to share"
    while paying > 1 and (harm := size.too_many(paying)):
        paying -= 1
    if paying == 1:
        return 1, harm
    return paying, f"one pass takes about {1e3 * size.epoch_seconds:.0f} ms on one core"


def _explicit(n_jobs: int, who: str) -> int:
    if n_jobs == 0:
        raise InvalidArgument(
            f"The 'n_jobs' parameter of {who} must not be 0: 1 is serial, -1 uses all cores, None decides."
        )
    return n_jobs if n_jobs > 0 else max(1, joblib.cpu_count() + 1 + n_jobs)


def choose_algorithm(algorithm: Any, n_workers: int, why_workers: str, size: Size | NetworkSize, who: str) -> Choice:
    """Resolve the ``algorithm`` argument."""
    verbs = ("work", "quorum", "combine")
    if not (isinstance(algorithm, str) and algorithm == "auto"):
        names = {**ALGORITHMS, "auto": ""}
        part = resolve(names, algorithm, "algorithm", who, verbs)
        return Choice(part.name, "asked for", part, n_workers)
    if n_workers == 1:
        return Choice("serial", f"serial SGD ({why_workers})", SimuParallel(), 1)
    part = size.epoch_seconds / n_workers
    round = size.round_seconds
    if size.convex and round > _DEAREST_ROUND * part:
        times = f"about {1e3 * round:.1f} ms, a worker's pass {1e3 * part:.1f} ms"
        why = f"one average at the end, because averaging takes {times} ({why_workers})"
        return Choice("simuparallel", why, SimuParallel(), n_workers)
    rounds = max(1, min(_MOST_ROUNDS, int(size.rounds_share * part / round)))
    times = "once" if rounds == 1 else f"{rounds} times"
    why = f"average {times} a pass, so that rounds stay cheap ({why_workers})"
    return Choice("local", why, Local(period=1.0 / rounds), n_workers)


def choose_engine(engine: Any, n_workers: int, who: str) -> Any:
    """Resolve the ``engine`` argument: "auto" is serial for one worker and threads for more."""
    if isinstance(engine, str) and engine == "auto":
        engine = "serial" if n_workers == 1 else "threads"
    return resolve({**ENGINES, "auto": ""}, engine, "engine", who, ("open", "offers"))
