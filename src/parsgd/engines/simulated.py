"""Workers on a virtual clock: what a thousand unequal machines would do, seen on one.

The training is real and runs in the calling thread, one task after the other; only the time is made up.  Of a task that
is sent at time ``s`` to machine ``i``, with all times in seconds::

    begun    = s + latency_s[i] + bytes(state) / bandwidth_bytes_per_s, or when the machine's last task has ended
    seconds  = examples / (rate speeds[i]) * exp(jitter z - jitter^2 / 2),    z ~ N(0, 1)
    answered = begun + seconds + latency_s[i] + bytes(report) / bandwidth_bytes_per_s

Each machine has a line of its own to the driver, and at first one worker.  If it dies, its worker's rows are taken by
the machine with the fewest, as on a cluster, and its tasks then take that machine's time, one after the other; to read
rows anew takes no time here.  The driver takes answers in the order in which they come, ties in the order of the
workers, and is busy for ``merge_s`` with each report.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from parsgd.core import Budget, ProgressCallback, Report, Shard, Task, TaskFailed, WorkFn
from parsgd.engines.placement import Placement
from parsgd.errors import InvalidArgumentError
from parsgd.training.cost_model import CostModel

# Of seconds times rate, what is rounding and not the beginning of another example.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Simulated:
    """An engine whose workers have the speeds, delays and failures that you give them.

    Results are real and repeat to the bit: with equal arguments always, and with ``speeds=None`` and nothing else given
    they are those of ``engine="serial"``.  ``history_`` tells virtual times.  A round that is counted in seconds ends
    for each worker with the example (or batch) that it is at when these are over.

    Parameters
    ----------
    speeds : float, sequence of float, or None
        Of each worker, relative to ``rate``: 0.1 is ten times slower.  A sequence says how many workers there are:
        ``n_jobs`` must be None or equal to its length.  None: all have speed 1.
    rate : float
        Examples a second of a worker of speed 1.
    latency_s : float or sequence of float
        Seconds that a message takes, each way; for all workers or for each.
    jitter : float
        How much the time of a task varies: the standard deviation of its logarithm.  The mean is not changed.
    failures : dict of int to float
        Machine, numbered as the worker that begins there -> seconds after the beginning of the fit at which it dies,
        with the tasks it has.  The driver hears of it one latency later; what it sends until then is lost, too.  The
        rows go to another machine; when the last one has died the fit ends.  A report already sent arrives.
    bandwidth_bytes_per_s : float
        Bytes a second between a worker and the driver.
    merge_s : float
        Seconds for which the driver is busy with one report.
    seed : int
        Of the jitter, which depends on it, the worker and the round only.

    Raises
    ------
    InvalidArgumentError
        When it is made with values that cannot be used; when a fit begins with another number of workers.

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
    failures: Mapping[int, float] = field(default_factory=dict)
    bandwidth_bytes_per_s: float = math.inf
    merge_s: float = 0.0
    seed: int = 0

    name = "simulated"
    capabilities = frozenset()

    def __post_init__(self) -> None:
        for argument in ("speeds", "latency_s"):
            object.__setattr__(self, argument, _plain(getattr(self, argument)))
        above, from_0 = "above 0 and finite", "from 0 on and finite"
        for speed in _several(1.0 if self.speeds is None else self.speeds):
            _check("speeds", speed, _is_number(speed) and speed > 0, f"a number {above}, or one for each worker")
        for latency in _several(self.latency_s):
            ok = _is_number(latency) and latency >= 0
            _check("latency_s", latency, ok, f"a number of seconds {from_0}, or one for each worker")
        _check("rate", self.rate, _is_number(self.rate) and self.rate > 0, f"examples a second, {above}")
        for argument in ("jitter", "merge_s"):
            value = getattr(self, argument)
            _check(argument, value, _is_number(value) and value >= 0, f"a number {from_0}")
        bandwidth = self.bandwidth_bytes_per_s
        endless = isinstance(bandwidth, float) and bandwidth == math.inf
        _check("bandwidth_bytes_per_s", bandwidth, endless or _is_number(bandwidth) and bandwidth > 0,
               "bytes a second, above 0 (inf: messages of any size take no time)")  # fmt: skip
        _check("seed", self.seed, _is_whole(self.seed), "an int from 0 on")
        failures = isinstance(self.failures, Mapping) and all(
            _is_whole(worker) and _is_number(at) and at >= 0 for worker, at in self.failures.items()
        )
        _check("failures", self.failures, failures, "a dict of workers' numbers and seconds, such as {3: 2.5}")

    @property
    def n_workers(self) -> int | None:
        """How many workers there are, where the arguments say so."""
        return next((len(given) for given in (self.speeds, self.latency_s) if isinstance(given, tuple)), None)

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> SimulatedWorkerPool:
        return SimulatedWorkerPool(self, work, shards, pulse)

    def costs(self, n_rows: int, n_parameters: int) -> CostModel:
        """What passes and rounds cost on this engine, for whom they are to be chosen; training costs the driver nothing
        here but ``merge_s``."""
        slowest = max(_several(self.latency_s))
        speeds = _several(1.0 if self.speeds is None else self.speeds)
        return CostModel(
            n_rows, len(speeds) / sum(speeds) / self.rate, 8 * n_parameters, latency_s=slowest,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s, merge_s=self.merge_s,
        )  # fmt: skip

    def for_each(self, argument: str, n_workers: int) -> list[float]:
        """The speeds, or the latencies, of so many workers."""
        given = getattr(self, argument)
        given = 1.0 if given is None else given
        if not isinstance(given, tuple):
            return [float(given)] * n_workers
        _check(argument, f"{len(given)} numbers", len(given) == n_workers,
               f"one number, or as many as there are workers, {n_workers} (n_jobs)")  # fmt: skip
        return list(given)


class SimulatedWorkerPool:
    """Tasks wait until an answer is asked for; then all are worked on, and their answers lie in the order of time."""

    def __init__(self, engine: Simulated, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback):
        self.engine, self.work, self.shards, self.pulse = engine, work, shards, pulse
        n_workers = len(shards)
        self.seconds_per_example = [1.0 / (engine.rate * speed) for speed in engine.for_each("speeds", n_workers)]
        self.latency = engine.for_each("latency_s", n_workers)
        strangers = sorted(worker for worker in engine.failures if worker >= n_workers)
        _check("failures", f"{strangers}, and {n_workers} workers", not strangers, "of workers from 0 to n_jobs - 1")
        self.free = [0.0] * n_workers
        self.placement = Placement([shard.n_rows for shard in shards], range(n_workers))
        # when the driver hears of failures, and of whose, the next one last
        self.news = sorted(((at + self.latency[i], i) for i, at in engine.failures.items()), reverse=True)
        self.clock = 0.0
        self.sent: deque[tuple[Task, float]] = deque()
        self.under_way: list[tuple[float, int, int, Report | TaskFailed]] = []
        self.n_sent = 0

    def send(self, task: Task) -> None:
        self.sent.append((task, self.clock))

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        while self.sent:
            task, at = self.sent.popleft()
            arrival, answer = self._answer(task, at)
            self.n_sent += 1
            heapq.heappush(self.under_way, (arrival, task.worker, self.n_sent, answer))
        came: list[Report | TaskFailed] = []
        while self.under_way and len(came) < at_least:
            arrival, _, _, answer = heapq.heappop(self.under_way)
            busy = 0.0 if isinstance(answer, TaskFailed) else self.engine.merge_s
            self.clock = max(self.clock, arrival) + busy
            came.append(answer)
        return came

    def _answer(self, task: Task, sent: float) -> tuple[float, Report | TaskFailed]:
        """When the answer to a task arrives, and which it is."""
        while self.news and self.news[-1][0] <= sent:
            self.placement.lose(self.news.pop()[1])
        machine = self.placement.host_of(task.worker)
        if machine is None:
            return sent, TaskFailed(task.worker, task.round, "the last machine has died")
        latency, death = self.latency[machine], self.engine.failures.get(machine, math.inf)
        begun = max(sent + latency + self._transfer(task.state), self.free[machine])
        if begun < death:
            seconds_per_example = self.seconds_per_example[machine] * self._jitter(task) * task.slowdown
            if task.budget.seconds is not None or task.slowdown != 1.0:
                # its slowness costs no time of ours
                task = replace(task, budget=_in_examples(task.budget, seconds_per_example), slowdown=1.0)
            report = self.work(self.shards[task.worker], task, self.pulse)
            seconds = report.examples * seconds_per_example
            self.free[machine] = begun + seconds
            if self.free[machine] <= death:
                arrival = self.free[machine] + latency + self._transfer(report.state)
                return arrival, replace(report, seconds=seconds)
        heard = max(death, sent) + latency
        others = any(heard_of > heard for heard_of, _ in self.news) or len(self.placement.up) > len(self.news)
        return heard, TaskFailed(task.worker, task.round, f"machine {machine} died after {death:g} s", others)

    def _transfer(self, message: np.ndarray) -> float:
        return message.nbytes / self.engine.bandwidth_bytes_per_s

    def _jitter(self, task: Task) -> float:
        """The factor on a task's time; its mean is 1."""
        sigma = self.engine.jitter
        if sigma == 0.0:
            return 1.0
        normal = np.random.default_rng((self.engine.seed, task.worker, task.round)).standard_normal()
        return math.exp(sigma * normal - 0.5 * sigma**2)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards
        self.placement.weigh([shard.n_rows for shard in shards])

    def now(self) -> float:
        return self.clock

    def close(self) -> None:
        for shard in self.shards:
            shard.close()
        self.sent.clear()
        self.under_way.clear()


def _in_examples(budget: Budget, seconds_per_example: float) -> Budget:
    """The examples that a worker makes in the budget's seconds, at ``seconds_per_example`` seconds an example.

    >>> _in_examples(Budget(500, seconds=0.1), 0.001)
    Budget(examples=100, seconds=inf, stopping=None)
    """
    if budget.seconds is None:
        return budget
    examples = budget.seconds / seconds_per_example * (1.0 - _ROUNDING)
    if examples >= budget.examples:
        return replace(budget, seconds=None)
    return replace(budget, examples=max(1, math.ceil(examples)), seconds=math.inf)


def _plain(given: Any) -> Any:
    """A sequence as a tuple of floats, which can be compared and saved; anything else as it is."""
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
        return given
    return tuple(float(value) if isinstance(value, Real) else value for value in given)


def _several(given: Any) -> Sequence[Any]:
    return given if isinstance(given, tuple) and given else (given,)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 0


def _check(argument: str, value: Any, ok: bool, expected: str) -> None:
    if not ok:
        got = value if isinstance(value, str) and " " in value else repr(value)
        raise InvalidArgumentError(f"The {argument!r} parameter of Simulated must be {expected}. Got {got} instead.")
