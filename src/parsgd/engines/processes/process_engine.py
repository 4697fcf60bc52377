"""Engine with workers as processes of this machine; they share no lock, and the fit survives the loss of some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from parsgd.core import EngineDefaults, Shard, StoppableProgress, WorkFn
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.process_pool import ProcessWorkerPool
from parsgd.engines.processes.worker_process import ProcessCache
from parsgd.errors import check_between, check_count

# Half the round trip of a small message, and of large states: studies/process_rounds.py, rounded.
_LATENCY_S, _BYTES_PER_S = 0.2e-3, 4e9


@dataclass(frozen=True)
class Processes(EngineDefaults):
    """Workers in separate processes, started for the fit and ended with it.

    They read arrays in shared memory; only states and reports are sent.  A process that is killed, or does not respond,
    loses its current task.  The round ends without that task, and another process takes over the rows.  No
    ``if __name__ == "__main__"`` is needed, because a process does not run the user's script.

    Parameters
    ----------
    n_processes : int, optional
        Default: one per worker, at most the number of cores.  Workers share processes if there are fewer.
    heartbeat_timeout_s : float
        Seconds without a heartbeat after which a busy process counts as lost.  If it responds again, it is used again.

    Raises
    ------
    InvalidArgumentError
        For invalid arguments.
    IncompatiblePartsError
        If a part of the fit cannot be sent to another process; the message names it.

    Notes
    -----
    A process takes one or two seconds to start.  Inside ``with Processes() as engine:`` the processes
    remain running for the next fit.

    Examples
    --------
    >>> from parsgd import Processes, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> with Processes() as engine:
    ...     settings = dict(n_jobs=2, algorithm="local", random_state=0)
    ...     ours = SGDClassifier(engine=engine, **settings).fit(X / 16, y)
    >>> bool((ours.coef_ == SGDClassifier(engine="serial", **settings).fit(X / 16, y).coef_).all())
    True
    """

    n_processes: int | None = None
    heartbeat_timeout_s: float = 30.0
    _pools: list[ProcessCache] = field(default_factory=list[ProcessCache], init=False, repr=False, compare=False)

    name = "processes"
    capabilities: ClassVar[frozenset[str]] = frozenset[str]()

    def __post_init__(self) -> None:
        check_count(self.n_processes, "n_processes", "Processes")
        check_between(self.heartbeat_timeout_s, 0, float("inf"), "heartbeat_timeout_s", "Processes")

    def message_costs(self, n_parameters: int) -> tuple[float, float]:
        """Return the latency in seconds per message and the bandwidth in bytes per second."""
        return _LATENCY_S, _BYTES_PER_S

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> ProcessWorkerPool:
        payload = FitPayload(work, shards)
        n_processes = min(self.n_processes or self.default_workers(), max(len(shards), 1))
        try:
            cache = self._pool or ProcessCache(closed=True)
            return ProcessWorkerPool(payload, progress, n_processes, cache, self.heartbeat_timeout_s)
        except BaseException:
            payload.close()
            raise

    @property
    def _pool(self) -> ProcessCache | None:
        """The process cache of the current ``with`` block, if any; a forked child process does not use its parent's."""
        return self._pools[-1] if self._pools and self._pools[-1].owner == os.getpid() else None

    def __enter__(self) -> Processes:
        self._pools.append(ProcessCache())
        return self

    def __exit__(self, *error: object) -> None:
        self._pools.pop().close()

    def __deepcopy__(self, memo: dict[int, object]) -> Processes:
        """Return the same engine: copies of an estimator use the same processes."""
        return self

    def __reduce__(self) -> tuple[type[Processes], tuple[int | None, float]]:
        """Pickle the arguments only; an unpickled engine has no processes."""
        return Processes, (self.n_processes, self.heartbeat_timeout_s)
