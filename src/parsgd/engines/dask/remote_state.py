"""States that remain on the Dask workers that computed them and are added there, in a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import Future

from parsgd.core import Task
from parsgd.engines.dask import remote_tasks
from parsgd.engines.dask.liveness import Host, HostLostError
from parsgd.utils.tree_reduce import FAN_IN, groups_of

# Maximum number of attempts to compute a sum when hosts are lost.
_ATTEMPTS = 5


class RemoteState:
    """The state of a report on its Dask worker; ``numpy.asarray`` fetches it.

    If the host is lost before the state is used, the task runs again; it contains all that is needed.
    """

    ndim = 1

    def __init__(self, pool: Any, task: Task, report: Future, host: Host, dtype: np.dtype, size: int):
        self.pool, self.task, self.report, self.host = pool, task, report, host
        self.dtype, self.size = dtype, size
        self.shape, self.nbytes = (size,), size * dtype.itemsize
        self._fetched: np.ndarray | None = None

    @property
    def lost(self) -> bool:
        """True if the state is no longer available."""
        return self.host.lost.done() or self.report.status != "finished"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: Any) -> Any:
        return np.asarray(self)[place]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._fetched is None:
            self._fetched = self.weighted_sum([self], np.ones(1))
        return np.array(self._fetched, dtype=dtype, copy=copy)

    def copy(self) -> np.ndarray:
        """Return the state as a local array."""
        return np.array(self)

    def weighted_sum(self, vectors: Sequence[Any], weights: np.ndarray) -> np.ndarray:
        """Return ``sum_i weights[i] vectors[i]``, with the bits of :func:`parsgd.utils.tree_reduce.weighted_sum`.

        The driver receives one vector; local arrays among ``vectors`` are sent to the cluster.
        """
        return self.pool.call(_sum, self.pool, list(vectors), np.asarray(weights, dtype=float))


async def _sum(pool: Any, vectors: list[Any], weights: np.ndarray) -> np.ndarray:
    alone = np.flatnonzero(weights)
    if len(alone) == 1 and weights[alone[0]] == 1.0:
        vectors, weights = [vectors[alone[0]]], np.ones(1)
        if isinstance(vectors[0], np.ndarray):
            return vectors[0].copy()
    why = ""
    for _ in range(_ATTEMPTS):
        try:
            return await _tree(pool, vectors, weights)
        except HostLostError as error:
            why = str(error)
            await pool.update_hosts()
            for vector in vectors:
                if isinstance(vector, RemoteState) and vector.lost:
                    vector.report, vector.host = await pool.rerun(vector.task)
    raise OSError(f"the workers' states could not be added up in {_ATTEMPTS} attempts; the last time {why}")


async def _tree(pool: Any, vectors: list[Any], weights: np.ndarray) -> np.ndarray:
    """Add groups of vectors until few enough are left for a single sum."""
    dtype = vectors[0].dtype
    # the summands, futures or arrays, and the host of each
    parts = [(v.report, v.host) if isinstance(v, RemoteState) else (v, None) for v in vectors]
    hosts = {host for _, host in parts if host is not None}
    while len(parts) > FAN_IN:
        groups = groups_of(len(parts))
        parts = [
            await _sum_where_most_are(pool, parts[group], hosts, remote_tasks.branch, weights[group])
            for group in groups
        ]
        weights = np.ones(len(parts))
    total, _ = await _sum_where_most_are(pool, parts, hosts, remote_tasks.root, weights, dtype)
    return remote_tasks.aligned(await pool.fetch(total, hosts))


async def _sum_where_most_are(
    pool: Any, parts: list[tuple[Any, Host | None]], hosts: set[Host], function: Any, *arguments: Any
) -> tuple[Future, Host]:
    """Add vectors on the host that holds most of them; the sum remains there."""
    counted = Counter(host for _, host in parts if host is not None).most_common(1)
    host = counted[0][0] if counted else next(iter(hosts))
    sent = [part if home is not None else await pool.send_vector(part, host) for part, home in parts]
    return pool.submit(function, sent, *arguments, host=host), host
