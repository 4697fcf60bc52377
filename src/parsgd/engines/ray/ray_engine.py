"""Engine with workers on a Ray cluster: an existing one, or a local one for the duration of a fit.

Rows are read and kept by the actor that trains on them; only the state vector is sent in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import joblib

from parsgd.core import EngineDefaults, Shard, StoppableProgress, WorkFn
from parsgd.engines.ray.actor_hosts import n_cores
from parsgd.engines.ray.ray_pool import RayWorkerPool
from parsgd.engines.ray.ray_session import (
    RaySession,
    close_kept,
    cluster_session,
    connect_to,
    keep,
    refuse_full_cluster,
    session_of_environment,
    start_local,
)
from parsgd.errors import InvalidArgumentError, check_between, check_count, choose
from parsgd.utils.tree_reduce import FAN_IN

_OWNER = "Ray"
# Half of an empty round, and the remaining time of a round with 5 million parameters, rounded:
# benchmarks/single/rounds.py.
_LATENCY_S, _BYTES_PER_S = 4e-3, 1e9


@dataclass(frozen=True)
class Ray(EngineDefaults):
    """An engine with workers on a Ray cluster.

    It uses the cluster at ``address``, or the one to which ``ray.init()`` has connected this process, or the one that
    the environment variable ``RAY_ADDRESS`` names, as in Ray jobs.  Otherwise it starts a local one, which only this
    machine can reach, and ends it after the fit.

    A worker process is an actor.  It takes a free core to start and, as usual for actors, reserves none.  It keeps its
    rows between rounds; the driver puts the state into the
    object store once per round.  Ray repeats nothing: if an actor is lost, the round ends without its tasks, other
    actors read its rows, and another one is started in its place.

    Used as a context manager, it keeps its connection and its actors between fits.

    Parameters
    ----------
    address : str or None
        Address of a cluster: ``"10.0.0.1:6379"``, or ``"auto"`` for the one that runs on this machine.
    n_processes : int or None
        Maximum number of actors, and the number of cores of a local cluster.  None: one per worker, at most one per
        core.
    reduce : {"auto", "tree", "direct"}
        ``"tree"``: the cluster adds the workers' states in groups of 16, and the driver receives the sum.
        ``"direct"``: the driver receives all states.  Both give the same bits.  ``"auto"``: a tree for more than 16
        workers.
    heartbeat_timeout_s : float
        Seconds without a heartbeat after which a busy actor counts as lost, and another one reads its rows.
    worker_timeout_s : float
        Seconds to wait for an actor when there is none, and for the cluster to answer.

    Raises
    ------
    InvalidArgumentError
        For invalid arguments.
    IncompatiblePartsError
        Inside a task of Ray on a cluster without a free core, or if this process is connected to another cluster.
    WorkersLostError
        If the cluster has no free core at the start of a fit, or cannot be reached.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.ray import Ray
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> with Ray(n_processes=2) as engine:  # doctest: +SKIP
    ...     model = SGDClassifier(n_jobs=2, engine=engine).fit(X, y)
    """

    address: str | None = None
    n_processes: int | None = None
    reduce: str = "auto"
    heartbeat_timeout_s: float = 30.0
    worker_timeout_s: float = 30.0

    name = "ray"
    capabilities: ClassVar[frozenset[str]] = frozenset[str]()
    on_cluster = True

    def __post_init__(self) -> None:
        address = cast("object", self.address)
        if address is not None and not (isinstance(address, str) and address):
            raise InvalidArgumentError(f"The 'address' parameter of {_OWNER} must be a str or None. Got {address!r}.")
        check_count(self.n_processes, "n_processes", _OWNER)
        choose(self.reduce, ("auto", "tree", "direct"), "reduce", _OWNER)
        check_between(self.heartbeat_timeout_s, 0, float("inf"), "heartbeat_timeout_s", _OWNER)
        check_between(self.worker_timeout_s, 0, float("inf"), "worker_timeout_s", _OWNER)

    def default_workers(self) -> int:
        """Return the number of workers for ``n_jobs=None``: the cores of the cluster, or of the one to be started."""
        session = self._existing()
        if session is None:
            return self.n_processes or joblib.cpu_count()
        try:
            return min(n_cores(), self.n_processes or n_cores())
        finally:
            session.close()

    def message_costs(self, n_parameters: int) -> tuple[float, float]:
        """Return the latency in seconds per message and the bandwidth in bytes per second."""
        return _LATENCY_S, _BYTES_PER_S

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> RayWorkerPool:
        session = self._existing() or start_local(self.n_processes, max(len(shards), 1))
        try:
            refuse_full_cluster()
        except BaseException:
            session.close()
            raise
        return RayWorkerPool(
            session.close,
            session.cache,
            work,
            shards,
            progress,
            n_processes=self.n_processes,
            in_tree=self.reduce == "tree" or (self.reduce == "auto" and len(shards) > FAN_IN),
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            worker_timeout_s=self.worker_timeout_s,
        )

    def __enter__(self) -> Ray:
        keep(self._existing() or start_local(self.n_processes, joblib.cpu_count()))
        return self

    def __exit__(self, *_: object) -> None:
        close_kept()

    def __deepcopy__(self, memo: dict[int, object]) -> Ray:
        # clones of an estimator use the same cluster
        return self

    def _existing(self) -> RaySession | None:
        """Return a session on the given cluster or on that of this process; None if the engine must start one."""
        if self.address is not None:
            return connect_to(self.address, self.worker_timeout_s)
        return cluster_session() or session_of_environment(self.worker_timeout_s)
