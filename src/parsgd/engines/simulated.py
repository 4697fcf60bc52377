"""Workers on a simulated clock: a simulation of a thousand unequal machines on one machine.

The training is real and runs in the calling thread, one task after the other; only the times are simulated.  For a
task sent at time ``s`` to machine ``i``, with all times in seconds::

    begun    = s + latency_s[i] + bytes(state) / bandwidth_bytes_per_s, or the end of the machine's last task
    seconds  = examples / (rate speeds[i]) * exp(jitter z - jitter^2 / 2),    z ~ N(0, 1)
    answered = begun + seconds + latency_s[i] + bytes(report) / bandwidth_bytes_per_s

Each machine has a separate connection to the driver and initially one worker.  If it fails, the machine with the fewest
rows takes over its worker's rows.  That machine then runs the tasks of all its workers one after the other; reading the
rows again takes no time.  The driver receives reports in the order of arrival, ties in the order of the workers, and
needs ``merge_s`` for each.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import ClassVar, cast

import numpy as np

from parsgd.core import Budget, CostModel, EngineDefaults, Report, Shard, StoppableProgress, Task, TaskFailed, WorkFn
from parsgd.engines.placement import Placement
from parsgd.engines.serial import SerialWorkerPool
from parsgd.errors import InvalidArgumentError

# Relative tolerance for rounding when seconds are converted to examples.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Simulated(EngineDefaults):
    """An engine whose workers have given speeds, delays and failures.

    Results are real, and equal arguments give equal bits.  With the default arguments they equal those of
    ``engine="serial"``.  ``history_`` has simulated times.  A round with a budget in seconds ends for each worker after
    the example (or batch) in progress at that time.

    Parameters
    ----------
    speeds : float, sequence of float, or None
        Speed of each worker relative to ``rate``: 0.1 is ten times slower.  A sequence sets the number of workers;
        ``n_jobs`` must then be None or equal to its length.  None: all have speed 1.
    rate : float
        Examples per second of a worker with speed 1.
    latency_s : float or sequence of float
        Seconds per message in each direction, for all workers or for each.
    jitter : float
        Random variation of the time of a task: the standard deviation of its logarithm.  The mean does not change.
    failures : dict of int to float
        Machine (the number of its initial worker) -> seconds from the start of the fit at which it fails and loses its
        tasks.  The driver notices the failure one latency later; tasks sent before then are lost, too.  The rows move
        to another machine.  After the last failure the fit ends.  Reports sent before the failure arrive.
    bandwidth_bytes_per_s : float
        Bytes per second between a worker and the driver.
    merge_s : float
        Seconds of the driver's work per report.
    seed : int
        Seed of the jitter, which depends only on it, the worker and the round.

    Raises
    ------
    InvalidArgumentError
        For invalid arguments, and for a fit with a different number of workers.

    Examples
    --------
    A thousand workers, one in ten of them ten times slower:

    >>> from parsgd import LocalSGD, SGDClassifier, Simulated
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> engine = Simulated(speeds=[1.0] * 900 + [0.1] * 100, rate=1000.0, latency_s=0.005)
    >>> model = SGDClassifier(algorithm=LocalSGD(sync_every=1.0), engine=engine, max_iter=1, tol=None, random_state=0)
    >>> first = model.fit(X, y).history_[0]
    >>> len(first["workers"]), [round(first["workers"][worker]["seconds"], 4) for worker in (0, 999)]
    (1000, [0.002, 0.01])
    >>> round(first["seconds"], 4)
    0.02
    """

    speeds: float | Sequence[float] | None = None
    rate: float = 1e6
    latency_s: float | Sequence[float] = 0.0
    jitter: float = 0.0
    failures: Mapping[int, float] = field(default_factory=dict[int, float])
    bandwidth_bytes_per_s: float = math.inf
    merge_s: float = 0.0
    seed: int = 0

    name = "simulated"
    capabilities: ClassVar[frozenset[str]] = frozenset({"cancel"})

    @property
    def n_workers(self) -> int | None:
        """Number of workers, if speeds or latencies are given for each."""
        return next((len(given) for given in (self.speeds, self.latency_s) if isinstance(given, tuple)), None)

    def __post_init__(self) -> None:
        for argument in ("speeds", "latency_s"):
            object.__setattr__(self, argument, _as_tuple(getattr(self, argument)))
        above, at_least_0 = "above 0 and finite", "at least 0 and finite"
        for speed in self._values("speeds"):
            _check("speeds", speed, _is_positive(speed), f"a number {above}, or one for each worker")
        for latency in self._values("latency_s"):
            expected = f"a number of seconds {at_least_0}, or one for each worker"
            _check("latency_s", latency, _is_nonnegative(latency), expected)
        _check("rate", self.rate, _is_positive(self.rate), f"examples per second, {above}")
        for argument in ("jitter", "merge_s"):
            value = getattr(self, argument)
            _check(argument, value, _is_nonnegative(value), f"a number {at_least_0}")
        bandwidth, expected = self.bandwidth_bytes_per_s, "bytes per second, above 0 (inf: transfer takes no time)"
        _check("bandwidth_bytes_per_s", bandwidth, bandwidth == math.inf or _is_positive(bandwidth), expected)
        _check("seed", self.seed, _is_nonnegative_int(self.seed), "a nonnegative int")
        expected = "a dict of worker numbers and seconds, such as {3: 2.5}"
        _check("failures", self.failures, _are_failures(self.failures), expected)

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> SimulatedWorkerPool:
        return SimulatedWorkerPool(self, work, shards, progress)

    def costs(self, n_rows: int, n_parameters: int) -> CostModel:
        """Return the cost model of this engine.  On the driver, only ``merge_s`` takes simulated time."""
        slowest, speeds = max(self._values("latency_s")), self._values("speeds")
        return CostModel(
            n_rows,
            len(speeds) / sum(speeds) / self.rate,
            8 * n_parameters,
            latency_s=slowest,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            merge_s=self.merge_s,
        )

    def for_each(self, argument: str, n_workers: int) -> list[float]:
        """Return the speeds or the latencies of ``n_workers`` workers."""
        values = self._values(argument)
        if not isinstance(getattr(self, argument), tuple):
            return [float(values[0])] * n_workers
        expected = f"one number, or one per worker, {n_workers} (n_jobs)"
        _check(argument, f"{len(values)} numbers", len(values) == n_workers, expected)
        return list(values)

    def _values(self, argument: str) -> Sequence[float]:
        """Return the speeds or the latencies as given; a single number is a sequence of one."""
        given: object = getattr(self, argument)
        if isinstance(given, tuple) and given:
            return cast("tuple[float, ...]", given)
        return (1.0 if given is None else cast("float", given),)


class SimulatedWorkerPool(SerialWorkerPool):
    """Tasks that wait for ``receive``, which runs all of them and orders the results by simulated arrival."""

    def __init__(self, engine: Simulated, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress):
        super().__init__(work, shards, progress)
        self.engine: Simulated = engine
        n_workers = len(shards)
        self.seconds_per_example: list[float] = [
            1.0 / (engine.rate * speed) for speed in engine.for_each("speeds", n_workers)
        ]
        self.latency: list[float] = engine.for_each("latency_s", n_workers)
        unknown = sorted(worker for worker in engine.failures if worker >= n_workers)
        _check("failures", f"{unknown}, and {n_workers} workers", not unknown, "of workers from 0 to n_jobs - 1")
        self.free: list[float] = [0.0] * n_workers
        self.placement: Placement[int] = Placement([shard.n_rows for shard in shards], range(n_workers))
        # (time at which the driver notices a failure, machine); the next one is last
        self.failure_notices: list[tuple[float, int]] = sorted(
            ((at + self.latency[i], i) for i, at in engine.failures.items()), reverse=True
        )
        # machine, begin and end of the last task of each worker
        self.times: dict[int, tuple[int, float, float]] = {}
        self.clock: float = 0.0
        self.sent_at: deque[float] = deque()
        self.under_way: list[tuple[float, int, int, Report | TaskFailed]] = []
        self.n_sent: int = 0

    def send(self, task: Task) -> None:
        super().send(task)
        self.sent_at.append(self.clock)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        while self.tasks:
            task, sent_at = self.tasks.popleft(), self.sent_at.popleft()
            arrival, result = self._run_task(task, sent_at)
            self.n_sent += 1
            heapq.heappush(self.under_way, (arrival, task.worker, self.n_sent, result))
        results: list[Report | TaskFailed] = []
        while self.under_way and len(results) < at_least:
            results.append(self._next())
        until = self.clock + within_s
        while self.under_way and within_s > 0.0:
            if self.under_way[0][0] > until:
                # the driver waits, and nothing arrives
                self.clock = max(self.clock, until)
                break
            results.append(self._next())
        return results

    def _next(self) -> Report | TaskFailed:
        """Return the next result, and set the clock to its arrival and the driver's work."""
        arrival, _, _, result = heapq.heappop(self.under_way)
        busy = 0.0 if isinstance(result, TaskFailed) else self.engine.merge_s
        self.clock = max(self.clock, arrival) + busy
        return result

    def _run_task(self, task: Task, sent: float) -> tuple[float, Report | TaskFailed]:
        """Return the arrival time of the result of a task, and the result."""
        while self.failure_notices and self.failure_notices[-1][0] <= sent:
            self.placement.remove(self.failure_notices.pop()[1])
        machine = self.placement.host_of(task.worker)
        if machine is None:
            return sent, TaskFailed(task.worker, task.round, "the last machine has failed")
        latency, failure_time = self.latency[machine], self.engine.failures.get(machine, math.inf)
        begun = max(sent + latency + self._transfer(task.state.nbytes), self.free[machine])
        if begun < failure_time:
            seconds_per_example = self.seconds_per_example[machine] * self._jitter(task) * task.slowdown
            if task.budget.seconds is not None or task.slowdown != 1.0:
                # the slowdown applies to the simulated time only
                task = replace(task, budget=_in_examples(task.budget, seconds_per_example), slowdown=1.0)
            report = self.work(self.shards[task.worker], task, self.progress)
            seconds = report.examples * seconds_per_example
            self.free[machine] = begun + seconds
            self.times[task.worker] = machine, begun, self.free[machine]
            if self.free[machine] <= failure_time:
                arrival = self.free[machine] + latency + self._transfer(report.n_bytes)
                return arrival, replace(report, seconds=seconds)
        noticed_at = max(failure_time, sent) + latency
        replaced = any(known_at > noticed_at for known_at, _ in self.failure_notices) or len(
            self.placement.available
        ) > len(self.failure_notices)
        return noticed_at, TaskFailed(
            task.worker, task.round, f"machine {machine} failed after {failure_time:g} s", replaced
        )

    def cancel(self, worker: int) -> bool:
        """Cancel a task that is under way; its machine is free one latency later."""
        for position, (_, other, _, result) in enumerate(self.under_way):
            if other != worker:
                continue
            if isinstance(result, TaskFailed):
                return False
            del self.under_way[position]
            heapq.heapify(self.under_way)
            machine, begun, ended = self.times[worker]
            if self.free[machine] == ended:
                # no other task waits for the machine
                self.free[machine] = min(ended, max(begun, self.clock + self.latency[machine]))
            return True
        return False

    def _transfer(self, n_bytes: int) -> float:
        return n_bytes / self.engine.bandwidth_bytes_per_s

    def _jitter(self, task: Task) -> float:
        """Return the random factor on a task's time; its mean is 1."""
        sigma = self.engine.jitter
        if sigma == 0.0:
            return 1.0
        normal = np.random.default_rng((self.engine.seed, task.worker, task.round)).standard_normal()
        return math.exp(sigma * normal - 0.5 * sigma**2)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        super().set_shards(shards)
        self.placement.set_rows([shard.n_rows for shard in shards])

    def now(self) -> float:
        return self.clock

    def close(self) -> None:
        super().close()
        self.under_way.clear()


def _in_examples(budget: Budget, seconds_per_example: float) -> Budget:
    """Convert a budget in seconds to examples, at ``seconds_per_example``.

    >>> _in_examples(Budget(500, seconds=0.1), 0.001)
    Budget(examples=100, seconds=inf, stopping=None)
    """
    if budget.seconds is None:
        return budget
    examples = budget.seconds / seconds_per_example * (1.0 - _ROUNDING)
    if examples >= budget.examples:
        return replace(budget, seconds=None)
    return replace(budget, examples=max(1, math.ceil(examples)), seconds=math.inf)


def _as_tuple(given: object) -> object:
    """Return a sequence as a tuple of floats, which can be compared and saved, and other values unchanged."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Collection):
        return given
    values = cast("Collection[object]", given)
    return tuple(float(value) if isinstance(value, Real) else value for value in values)


def _is_nonnegative(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and value < math.inf and not value < 0


def _is_positive(value: object) -> bool:
    return _is_nonnegative(value) and value != 0


def _is_nonnegative_int(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 0


def _are_failures(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    failures = cast("Mapping[object, object]", value)
    return all(_is_nonnegative_int(worker) and _is_nonnegative(at) for worker, at in failures.items())


def _check(argument: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        got = value if isinstance(value, str) and " " in value else repr(value)
        raise InvalidArgumentError(f"The {argument!r} parameter of Simulated must be {expected}. Got {got} instead.")
