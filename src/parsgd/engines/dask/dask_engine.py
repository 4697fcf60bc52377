"""Workers on a Dask cluster: one that you have, or one of this machine's own cores for the length of a fit.

Data are read by the worker that trains on them and stay there; in a round only the state vector travels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.system import CPU_COUNT
from distributed import Client, default_client
from distributed.worker import thread_state

from parsgd.core import ProgressCallback, Shard, WorkFn
from parsgd.engines.dask.client import DaskConnection, connect_to, start_local
from parsgd.engines.dask.dask_pool import DaskWorkerPool, refuse_after_the_end
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError, check_between, check_count, check_flag, choose
from parsgd.utils.tree_reduce import FAN_IN

WHO = "Dask"
# Half of an empty round, and what is left of a round of 5 million parameters: benchmarks/single/rounds.py, rounded.
_LATENCY_S, _BYTES_PER_S = 10e-3, 6e8


@dataclass(frozen=True)
class Dask:
    """An engine whose workers live on the workers of a Dask cluster.

    It takes the cluster that you give; or the one of the client that is active (``with distributed.Client(...)``); or
    else starts a ``LocalCluster`` and closes it when the fit ends.  A script that lets it start one needs
    ``if __name__ == "__main__":``, as everything does that starts processes.

    Used as a context manager it stays connected, and its cluster up, from fit to fit.

    Parameters
    ----------
    client : distributed.Client or None
        Not an asynchronous one.
    address : str or None
        Of a scheduler: ``"tcp://10.0.0.1:8786"``.
    scheduler_file : str or None
        Where a scheduler wrote its address: ``dask scheduler --scheduler-file ...``.
    n_processes : int or None
        Of the ``LocalCluster``, each with one thread.  None: as many as there are workers, and no more than cores.
    memory_limit : str, float or "auto"
        Of each of these processes, as ``LocalCluster`` takes it.
    reduce : {"auto", "tree", "direct"}
        Whether the workers' states are added up where they are, in groups of 16 neighbours, and the driver gets the sum
        (``"tree"``), or the driver gets all of them (``"direct"``): same bits.  ``"auto"``: a tree for more than 16
        workers.
    direct : bool
        Whether this machine can connect to the workers; False: all goes through the scheduler.
    heartbeat_timeout_s : float
        After so many seconds without a sign of life a worker is given up, and its rows are read by another.
    worker_timeout_s : float
        For so many seconds a fit waits for a worker to come when there is none, and for a scheduler to answer.

    Raises
    ------
    InvalidArgumentError
        When it is made with values that cannot be used.
    WorkersLostError
        When a fit begins and the cluster has no workers, or cannot be reached.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.engines.dask.dask_engine import Dask
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> with Dask(n_processes=2) as engine:  # doctest: +SKIP
    ...     model = SGDClassifier(n_jobs=2, engine=engine).fit(X, y)
    """

    client: Any = None
    address: str | None = None
    scheduler_file: str | None = None
    n_processes: int | None = None
    memory_limit: Any = "auto"
    reduce: str = "auto"
    direct: bool = True
    heartbeat_timeout_s: float = 30.0
    worker_timeout_s: float = 30.0
    _kept: list[DaskConnection] = field(default_factory=list, init=False, repr=False, compare=False)

    name = "dask"
    capabilities = frozenset()

    def __post_init__(self) -> None:
        given = [name for name in ("client", "address", "scheduler_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidArgumentError(
                f"Dask takes one of client, address and scheduler_file. Got {' and '.join(given)}."
            )
        if self.client is not None and not isinstance(self.client, Client):
            raise InvalidArgumentError(
                f"The 'client' parameter of Dask must be a distributed.Client. Got {self.client!r} instead."
            )
        if self.client is not None and self.client.asynchronous:
            raise InvalidArgumentError(
                "The 'client' parameter of Dask must be a client that waits. Got Client(asynchronous=True) instead."
            )
        for argument in ("address", "scheduler_file"):
            value = getattr(self, argument)
            if value is not None and not (isinstance(value, str) and value):
                raise InvalidArgumentError(f"The {argument!r} parameter of {WHO} must be a str or None. Got {value!r}.")
        check_count(self.n_processes, "n_processes", WHO)
        choose(self.reduce, ("auto", "tree", "direct"), "reduce", WHO)
        check_flag(self.direct, "direct", WHO)
        check_between(self.heartbeat_timeout_s, 0, float("inf"), "heartbeat_timeout_s", WHO)
        check_between(self.worker_timeout_s, 0, float("inf"), "worker_timeout_s", WHO)

    def default_workers(self) -> int:
        """How many workers ``n_jobs=None`` means: the threads of the cluster, or of the one that would be started."""
        refuse_after_the_end()
        if self.client is None and not self._kept and not self.address and not self.scheduler_file:
            _refuse_in_task()
        if self._starts_one:
            return self.n_processes or CPU_COUNT
        connection = self._connect(1)
        try:
            workers = connection.client.scheduler_info()["workers"].values()
            return max(1, sum(worker["nthreads"] for worker in workers))
        finally:
            connection.close()

    def message_costs(self, n_parameters: int) -> tuple[float, float]:
        """Seconds that a message takes, whatever its length, and bytes of a state a second."""
        return _LATENCY_S, _BYTES_PER_S

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> DaskWorkerPool:
        connection = self._connect(len(shards))
        tree = self.reduce == "tree" or (self.reduce == "auto" and len(shards) > FAN_IN)
        return DaskWorkerPool(
            connection.client, connection.close, work, shards, pulse, in_tree=tree, direct=self.direct,
            heartbeat_timeout_s=self.heartbeat_timeout_s, worker_timeout_s=self.worker_timeout_s,
        )  # fmt: skip

    def __enter__(self) -> Dask:
        self._kept.append(self._connect(CPU_COUNT))
        return self

    def __exit__(self, *_: Any) -> None:
        self._kept.pop().close()

    def __deepcopy__(self, memo: dict) -> Dask:
        # clones of an estimator talk to the same cluster
        return self

    def __getstate__(self) -> dict[str, Any]:
        # a client does not travel; its scheduler's address does
        address = self.address if self.client is None else self.client.scheduler.address
        return {**self.__dict__, "client": None, "address": address, "_kept": []}

    @property
    def _starts_one(self) -> bool:
        """Whether there is no cluster yet."""
        elsewhere = self.client or self.address or self.scheduler_file or self._kept
        return not elsewhere and _active_client() is None

    def _connect(self, n_workers: int) -> DaskConnection:
        """A connection, whose closing closes what was started for it, if anything was."""
        refuse_after_the_end()
        if self._kept:
            stays = contextlib.ExitStack()
            stays.callback(self._kept[-1].tidy)
            return DaskConnection(self._kept[-1].client, stays)
        if self.address is not None or self.scheduler_file is not None:
            return connect_to(self.address, self.scheduler_file, self.worker_timeout_s)
        if self.client is None:
            _refuse_in_task()
        client = self.client or _active_client()
        return start_local(self.n_processes, n_workers, self.memory_limit) if client is None else DaskConnection(client)


def _refuse_in_task() -> None:
    """Raise in a task of Dask, which would wait for workers that it occupies itself."""
    if hasattr(thread_state, "execution_state"):
        raise IncompatiblePartsError(
            "engine='dask' was used inside a task of Dask, which would wait for the worker that runs it. Take"
            " engine='threads' there, or fit in the program that has the client."
        )


def _active_client() -> Client | None:
    try:
        client = default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client
