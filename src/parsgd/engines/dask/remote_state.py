"""States that remain on the Dask workers that computed them and are added there, in a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from parsgd.core import Task
from parsgd.engines import remote_reports
from parsgd.engines.cluster_vector import ClusterVector
from parsgd.engines.dask.cluster import Cluster, RemoteData
from parsgd.engines.dask.liveness import Host, HostLostError, host_errors, while_alive
from parsgd.utils.tree_reduce import FAN_IN, groups_of

# Maximum number of attempts to compute a sum when hosts are lost.
_ATTEMPTS = 5


@dataclass(eq=False)
class RemoteState(ClusterVector):
    """The state of a report on its Dask worker.

    If the host is lost before the state is used, ``recover`` runs the task again; it contains all that is needed.
    """

    cluster: Cluster
    recover: Callable[[Sequence[RemoteState]], Awaitable[None]]
    task: Task
    report: RemoteData
    host: Host

    @property
    def lost(self) -> bool:
        """True if the state is no longer available."""
        return self.host.lost.done() or self.report.status != "finished"

    def sum_there(self, vectors: Sequence[np.ndarray | ClusterVector], weights: np.ndarray) -> np.ndarray:
        # all remote vectors of a fit are of its engine
        return self.cluster.call(self._sum, cast("Sequence[np.ndarray | RemoteState]", vectors), weights)

    async def _sum(self, vectors: Sequence[np.ndarray | RemoteState], weights: np.ndarray) -> np.ndarray:
        why = ""
        for _ in range(_ATTEMPTS):
            try:
                return await _tree(self.cluster, vectors, weights)
            except HostLostError as error:
                why = str(error)
                await self.recover([vector for vector in vectors if isinstance(vector, RemoteState)])
        raise OSError(f"the workers' states could not be added up in {_ATTEMPTS} attempts; the last time {why}")


# A summand on its host, or an array on this machine.
_Part = tuple[RemoteData, Host] | tuple[np.ndarray, None]


async def _tree(cluster: Cluster, vectors: Sequence[np.ndarray | RemoteState], weights: np.ndarray) -> np.ndarray:
    """Add groups of vectors until few enough are left for a single sum."""
    dtype = vectors[0].dtype
    parts: list[_Part] = [(v.report, v.host) if isinstance(v, RemoteState) else (v, None) for v in vectors]
    hosts = {host for _, host in parts if host is not None}
    while len(parts) > FAN_IN:
        groups = groups_of(len(parts))
        parts = [
            await _sum_where_most_are(cluster, parts[group], hosts, remote_reports.branch, weights[group])
            for group in groups
        ]
        weights = np.ones(len(parts))
    total, _ = await _sum_where_most_are(cluster, parts, hosts, remote_reports.root, weights, dtype)
    return remote_reports.aligned(await cluster.fetch(total, hosts))


async def _sum_where_most_are(
    cluster: Cluster,
    parts: Sequence[_Part],
    hosts: set[Host],
    function: Callable[..., np.ndarray],
    *arguments: object,
) -> tuple[RemoteData, Host]:
    """Add vectors on the host that holds most of them; the sum remains there."""
    counted = Counter(host for _, host in parts if host is not None).most_common(1)
    host = counted[0][0] if counted else next(iter(hosts))
    sent: list[object] = []
    for part, home in parts:
        if home is None:
            with host_errors(host.address):
                part = await while_alive([host], cluster.scatter(host, "vector", part))
        sent.append(part)
    return cluster.submit(host, "sum", function, sent, *arguments), host
