"""Engine with workers on a Dask cluster: an existing one, or a local one for the duration of a fit.

Data are read and kept by the Dask worker that trains on them; only the state vector is sent in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from dask.system import CPU_COUNT
from distributed import Client

from parsgd.core import EngineDefaults, Shard, StoppableProgress, WorkFn
from parsgd.engines.dask.client import DaskConnection, connect_to, start_local
from parsgd.engines.dask.cluster import Cluster, active_client, in_task
from parsgd.engines.dask.dask_pool import DaskWorkerPool, refuse_after_the_end
from parsgd.engines.remote_reports import refuse_other_futures
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError, check_between, check_count, check_flag, choose
from parsgd.utils.tree_reduce import FAN_IN

_OWNER = "Dask"
# Half of an empty round, and the remaining time of a round with 5 million parameters, rounded:
# benchmarks/single/rounds.py.
_LATENCY_S, _BYTES_PER_S = 10e-3, 6e8


@dataclass(frozen=True)
class Dask(EngineDefaults):
    """An engine with workers on a Dask cluster.

    It uses the given cluster, or that of the active client (``with distributed.Client(...)``).  Otherwise it starts a
    ``LocalCluster`` and closes it at the end of the fit.  A script that starts one this way needs
    ``if __name__ == "__main__":``, because the cluster starts processes.

    Used as a context manager, it keeps its connection and its cluster between fits.

    Parameters
    ----------
    client : distributed.Client or None
        A synchronous client.
    address : str or None
        Address of a scheduler: ``"tcp://10.0.0.1:8786"``.
    scheduler_file : str or None
        File that contains the scheduler's address: ``dask scheduler --scheduler-file ...``.
    n_processes : int or None
        Number of processes of the ``LocalCluster``, each with one thread.  None: one per worker, at most one per core.
    memory_limit : str, float or "auto"
        Memory limit of each of these processes, as for ``LocalCluster``.
    reduce : {"auto", "tree", "direct"}
        ``"tree"``: the cluster adds the workers' states in groups of 16, and the driver receives the sum.
        ``"direct"``: the driver receives all states.  Both give the same bits.  ``"auto"``: a tree for more than 16
        workers.
    direct : bool
        True if this machine can connect to the workers; False: all data pass through the scheduler.
    heartbeat_timeout_s : float
        Seconds without a heartbeat after which a Dask worker counts as lost, and another one reads its rows.
    worker_timeout_s : float
        Seconds to wait for a Dask worker when there is none, and for the scheduler to answer.

    Raises
    ------
    InvalidArgumentError
        For invalid arguments.
    WorkersLostError
        If the cluster has no workers at the start of a fit, or cannot be reached.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.engines.dask.dask_engine import Dask
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> with Dask(n_processes=2) as engine:  # doctest: +SKIP
    ...     model = SGDClassifier(n_jobs=2, engine=engine).fit(X, y)
    """

    client: Client | None = None
    address: str | None = None
    scheduler_file: str | None = None
    n_processes: int | None = None
    memory_limit: str | float | None = "auto"
    reduce: str = "auto"
    direct: bool = True
    heartbeat_timeout_s: float = 30.0
    worker_timeout_s: float = 30.0
    _kept: list[DaskConnection] = field(default_factory=list[DaskConnection], init=False, repr=False, compare=False)

    name = "dask"
    capabilities: ClassVar[frozenset[str]] = frozenset[str]()
    on_cluster = True

    def __post_init__(self) -> None:
        given = [name for name in ("client", "address", "scheduler_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidArgumentError(
                f"Dask takes one of client, address and scheduler_file. Got {' and '.join(given)}."
            )
        client = cast("object", self.client)
        if client is not None and not isinstance(client, Client):
            raise InvalidArgumentError(
                f"The 'client' parameter of Dask must be a distributed.Client. Got {client!r} instead."
            )
        if client is not None and client.asynchronous:
            raise InvalidArgumentError(
                "The 'client' parameter of Dask must be a synchronous Client. Got Client(asynchronous=True) instead."
            )
        for argument in ("address", "scheduler_file"):
            value = getattr(self, argument)
            if value is not None and not (isinstance(value, str) and value):
                raise InvalidArgumentError(
                    f"The {argument!r} parameter of {_OWNER} must be a str or None. Got {value!r}."
                )
        check_count(self.n_processes, "n_processes", _OWNER)
        choose(self.reduce, ("auto", "tree", "direct"), "reduce", _OWNER)
        check_flag(self.direct, "direct", _OWNER)
        check_between(self.heartbeat_timeout_s, 0, float("inf"), "heartbeat_timeout_s", _OWNER)
        check_between(self.worker_timeout_s, 0, float("inf"), "worker_timeout_s", _OWNER)

    def default_workers(self) -> int:
        """Return the number of workers for ``n_jobs=None``: the threads of the cluster, or of the one to be started."""
        connection = self._existing()
        if connection is None:
            return self.n_processes or CPU_COUNT
        try:
            return max(1, Cluster(connection.client, self.direct).n_threads())
        finally:
            connection.close()

    def message_costs(self, n_parameters: int) -> tuple[float, float]:
        """Return the latency in seconds per message and the bandwidth in bytes per second."""
        return _LATENCY_S, _BYTES_PER_S

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> DaskWorkerPool:
        refuse_other_futures(shards, "dask", "distributed")
        connection = self._connect(len(shards))
        tree = self.reduce == "tree" or (self.reduce == "auto" and len(shards) > FAN_IN)
        return DaskWorkerPool(
            Cluster(connection.client, self.direct),
            connection.close,
            work,
            shards,
            progress,
            in_tree=tree,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            worker_timeout_s=self.worker_timeout_s,
        )

    def __enter__(self) -> Dask:
        self._kept.append(self._connect(CPU_COUNT))
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.pop().close()

    def __deepcopy__(self, memo: dict[int, object]) -> Dask:
        # clones of an estimator use the same cluster
        return self

    def __getstate__(self) -> dict[str, object]:
        # a client cannot be pickled; its scheduler's address can
        address = self.address if self.client is None else Cluster(self.client, self.direct).address
        return {**self.__dict__, "client": None, "address": address, "_kept": []}

    def _connect(self, n_workers: int) -> DaskConnection:
        """Return a connection; closing it closes resources that were started for it."""
        return self._existing() or start_local(self.n_processes, n_workers, self.memory_limit)

    def _existing(self) -> DaskConnection | None:
        """Return a connection to the given or the active cluster; None if the engine must start one."""
        refuse_after_the_end()
        if self._kept:
            return DaskConnection(self._kept[-1].client, self._kept[-1].tidy)
        if self.address is not None or self.scheduler_file is not None:
            return connect_to(self.address, self.scheduler_file, self.worker_timeout_s)
        if self.client is None and in_task():
            raise IncompatiblePartsError(
                "engine='dask' was used inside a task of Dask, which would wait for the worker that runs it. Use"
                " engine='threads' there, or fit in the program that has the client."
            )
        client = self.client or active_client()
        return None if client is None else DaskConnection(client)
