"""Transfer of work, shards and states from the driver to the hosts, once per host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import numpy as np
from distributed import CancelledError

from parsgd.core import Shard, WorkFn
from parsgd.engines.dask.cluster import Cluster, RemoteData
from parsgd.engines.dask.liveness import Host, start_task
from parsgd.engines.dask.remote_tasks import RemoteShard, RemoteWork, filled
from parsgd.errors import DataFileError

# Maximum number of shards pickled concurrently; each needs its size again in the driver's memory.
_MAX_PACKING = 2
# Smaller states are sent inside their tasks, through the scheduler.
_INLINE_BYTES = 1 << 20

Transfer = asyncio.Future[RemoteData]


class ScatterCache:
    """Cache of objects sent to hosts.  It runs in the client's event loop.

    The driver keeps all originals; objects lost with a host are sent again.  ``sent`` has the transfers to each host,
    running or complete, by the number of a worker (its shard) or by name.
    """

    def __init__(self, cluster: Cluster, work: WorkFn, shards: Sequence[Shard]):
        self.cluster: Cluster = cluster
        self.work: WorkFn = work
        self.shards: Sequence[Shard] = shards
        self.sent: dict[Host, dict[int | str, Transfer]] = {}
        self.states: dict[Host, np.ndarray] = {}
        self.packing_slots: asyncio.Semaphore = asyncio.Semaphore(_MAX_PACKING)

    async def work_on(self, host: Host) -> RemoteData:
        """Return the work on a host."""
        return await self._once(host, "work", lambda: self.cluster.scatter(host, "work", RemoteWork(self.work)))

    async def shard_on(self, host: Host, worker: int) -> RemoteData:
        """Return a worker's shard on a host."""
        return await self._once(host, worker, lambda: self._send_shard(host, worker))

    async def state_on(self, host: Host, state: np.ndarray) -> RemoteData | np.ndarray:
        """Return a state on a host, and drop the previous one.  A small state is returned as it is."""
        if state.nbytes <= _INLINE_BYTES:
            return state
        if self.states.get(host) is not state:
            self.states[host] = state
            self.sent.get(host, {}).pop("state", None)
        return await self._once(host, "state", lambda: self.cluster.scatter(host, "state", state))

    async def _once(self, host: Host, name: int | str, send: Callable[[], Awaitable[RemoteData]]) -> RemoteData:
        """Return an object on a host, sent now unless it is there or on its way."""
        here = self.sent.setdefault(host, {})
        if name not in here or _failed(here[name]):
            here[name] = start_task(send())
        return await asyncio.shield(here[name])

    def keys_of_work(self) -> dict[Host, str]:
        """Return the key of the work on each host."""
        found = {host: here["work"] for host, here in self.sent.items() if "work" in here}
        return {host: work.result().key for host, work in found.items() if work.done() and not _failed(work)}

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Replace the shards of all workers."""
        self.shards = shards
        self.keep(lambda host: ())

    def keep(self, workers_of: Callable[[Host], Sequence[int]]) -> None:
        """Drop the shards of workers that have moved to another host."""
        for host, here in self.sent.items():
            kept = {"work", "state", *workers_of(host)}
            for name in [name for name in here if name not in kept]:
                del here[name]

    def drop(self, host: Host) -> None:
        """Forget the objects sent to a host."""
        self.sent.pop(host, None)
        self.states.pop(host, None)

    def clear(self) -> None:
        """Release all objects on all hosts."""
        self.sent.clear()
        self.states.clear()

    async def _send_shard(self, host: Host, worker: int) -> RemoteData:
        async with self.packing_slots:
            shard = self.shards[worker].portable()
            sent = await self.cluster.scatter(host, f"shard-{worker}", RemoteShard(shard))
            # Dask transfers data that are already on the cluster
            futures = cast("Sequence[RemoteData]", shard.futures())
            return await self._filled(host, sent, futures) if futures else sent

    async def _filled(self, host: Host, sent: RemoteData, futures: Sequence[RemoteData]) -> RemoteData:
        """Return the shard on a host, with the results of its futures."""
        made = self.cluster.submit(host, "filled", filled, sent, list(futures))
        try:
            await self.cluster.finished(made)
        except CancelledError:
            lost = sum(future.status == "cancelled" for future in futures)
            if not lost:
                raise
            # no other host could provide them either
            raise DataFileError(
                f"{lost} of {len(futures)} partitions of a shard were lost with their Dask worker, and"
                " Dask cannot compute them again, because they were scattered. Pass delayed blocks to open_dataset,"
                " or a collection; or scatter with broadcast=True."
            ) from None
        return made


def _failed(sent: Transfer) -> bool:
    """Return True if a transfer failed, or its object is no longer available."""
    if not sent.done():
        return False
    return sent.cancelled() or sent.exception() is not None or sent.result().status != "finished"
