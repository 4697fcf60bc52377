"""Workers as processes of this machine: no lock in common, and one that dies takes nobody with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import joblib

from parsgd.core import ProgressCallback, Shard, WorkFn
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.process_pool import ProcessWorkerPool
from parsgd.engines.processes.worker_process import ProcessCache
from parsgd.errors import check_between, check_count

# Half a round trip of a small message, and of a state of 40 MB: docs/architecture.md.
_LATENCY_S, _BYTES_PER_S = 0.2e-3, 4e9


@dataclass(frozen=True)
class Processes:
    """Workers in processes of their own, started for the fit and ended with it.

    They read arrays where they lie, in memory that all of them see; only states and reports travel.  A process that is
    killed, or does not answer, loses the task that it is at: the round ends without it, and another process takes its
    rows.  No ``if __name__ == "__main__"`` is needed: a process does not run the user's script.

    Parameters
    ----------
    n_processes : int, optional
        Not given: one for each worker, but no more than there are cores.  Workers share processes if there are fewer.
    heartbeat_timeout_s : float
        A process that is silent for so many seconds while it should be at work is taken for lost; if it speaks again,
        it is used again.

    Raises
    ------
    InvalidArgumentError
        When it is made with values that cannot be used.
    IncompatiblePartsError
        When a fit begins with what cannot be sent to another process; says what.

    Notes
    -----
    A process takes one or two seconds to start.  Within ``with Processes() as engine:`` they stay, and the next fit
    finds them ready.

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
    _pools: list[ProcessCache] = field(default_factory=list, init=False, repr=False, compare=False)

    name = "processes"
    capabilities = frozenset()

    def __post_init__(self) -> None:
        check_count(self.n_processes, "n_processes", "Processes")
        check_between(self.heartbeat_timeout_s, 0, float("inf"), "heartbeat_timeout_s", "Processes")

    def message_costs(self, n_parameters: int) -> tuple[float, float]:
        """Seconds that a message takes, whatever its length, and bytes of a state a second."""
        return _LATENCY_S, _BYTES_PER_S

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> ProcessWorkerPool:
        parcels = FitPayload(work, shards)
        n_processes = min(self.n_processes or joblib.cpu_count(), max(len(shards), 1))
        try:
            return ProcessWorkerPool(parcels, pulse, n_processes, self._pool, self.heartbeat_timeout_s)
        except BaseException:
            parcels.close()
            raise

    @property
    def _pool(self) -> ProcessCache | None:
        """The processes that stay, if any do; not those of a process from which this one was forked."""
        return self._pools[-1] if self._pools and self._pools[-1].owner == os.getpid() else None

    def __enter__(self) -> Processes:
        self._pools.append(ProcessCache())
        return self

    def __exit__(self, *error: object) -> None:
        self._pools.pop().close()

    def __deepcopy__(self, memo: dict) -> Processes:
        """Itself: copies of an estimator use the same processes."""
        return self

    def __reduce__(self) -> tuple:
        """Elsewhere it is an engine that has no processes yet."""
        return Processes, (self.n_processes, self.heartbeat_timeout_s)
