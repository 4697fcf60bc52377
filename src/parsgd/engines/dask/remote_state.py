"""States that stay on the Dask workers which made them, and are added up there, in a tree."""

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

# How often a sum is begun anew when the host of a part of it is lost.
_ATTEMPTS = 5


class RemoteState:
    """The state of a report, where it was made; ``numpy.asarray`` brings it.

    When the host is lost before the state was used, its task is done once more: it holds all that is needed.
    """

    ndim = 1

    def __init__(self, crew: Any, task: Task, report: Future, host: Host, dtype: np.dtype, size: int):
        self.crew, self.task, self.report, self.host = crew, task, report, host
        self.dtype, self.size = dtype, size
        self.shape, self.nbytes = (size,), size * dtype.itemsize
        self._brought: np.ndarray | None = None

    @property
    def lost(self) -> bool:
        """Whether it is there no more."""
        return self.host.gone.done() or self.report.status != "finished"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: Any) -> Any:
        return np.asarray(self)[place]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._brought is None:
            self._brought = self.weighted_sum([self], np.ones(1))
        return np.array(self._brought, dtype=dtype, copy=copy)

    def copy(self) -> np.ndarray:
        """The state, here."""
        return np.array(self)

    def weighted_sum(self, vectors: Sequence[Any], weights: np.ndarray) -> np.ndarray:
        """``sum_i weights[i] vectors[i]`` to the bits of :func:`parsgd.utils.tree_reduce.weighted_sum`; one vector
        travels here, and those of ``vectors`` that are here travel there."""
        return self.crew.call(_sum, self.crew, list(vectors), np.asarray(weights, dtype=float))


async def _sum(crew: Any, vectors: list[Any], weights: np.ndarray) -> np.ndarray:
    alone = np.flatnonzero(weights)
    if len(alone) == 1 and weights[alone[0]] == 1.0:
        vectors, weights = [vectors[alone[0]]], np.ones(1)
        if isinstance(vectors[0], np.ndarray):
            return vectors[0].copy()
    why = ""
    for _ in range(_ATTEMPTS):
        try:
            return await _tree(crew, vectors, weights)
        except HostLostError as gone:
            why = str(gone)
            await crew.look()
            for vector in vectors:
                if isinstance(vector, RemoteState) and vector.lost:
                    vector.report, vector.host = await crew.again(vector.task)
    raise OSError(f"the workers' states could not be added up in {_ATTEMPTS} attempts; the last time {why}")


async def _tree(crew: Any, vectors: list[Any], weights: np.ndarray) -> np.ndarray:
    """Branch by branch until so few are left that they are the root."""
    dtype = vectors[0].dtype
    # what is summed, futures or arrays, and where each lies
    parts = [(v.report, v.host) if isinstance(v, RemoteState) else (v, None) for v in vectors]
    hosts = {host for _, host in parts if host is not None}
    while len(parts) > FAN_IN:
        groups = groups_of(len(parts))
        parts = [await _near(crew, parts[group], hosts, remote_tasks.branch, weights[group]) for group in groups]
        weights = np.ones(len(parts))
    total, _ = await _near(crew, parts, hosts, remote_tasks.root, weights, dtype)
    return remote_tasks.aligned(await crew.bring(total, hosts))


async def _near(
    crew: Any, parts: list[tuple[Any, Host | None]], hosts: set[Host], function: Any, *arguments: Any
) -> tuple[Future, Host]:
    """Sum some parts where most of them lie; the sum stays there."""
    counted = Counter(host for _, host in parts if host is not None).most_common(1)
    host = counted[0][0] if counted else next(iter(hosts))
    sent = [part if home is not None else await crew.lend(part, host) for part, home in parts]
    return crew.submit(function, sent, *arguments, host=host), host
