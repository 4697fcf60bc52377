"""Transfer of work, shards and states from the driver to the hosts, once per host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from distributed import CancelledError, Client, Future, wait

from parsgd.core import Shard, WorkFn
from parsgd.engines.dask.liveness import Host, start_task
from parsgd.engines.dask.remote_tasks import RemoteHandle, filled
from parsgd.errors import DataFileError

# Maximum number of shards pickled concurrently; each needs its size again in the driver's memory.
_MAX_PACKING = 2
# Smaller states are sent inside their tasks, through the scheduler.
_INLINE_BYTES = 1 << 20


class ScatterCache:
    """Cache of objects sent to hosts.  It runs in the client's event loop.

    The driver keeps all originals; objects lost with a host are sent again.
    """

    def __init__(self, client: Client, run: str, work: WorkFn, shards: Sequence[Shard], direct: bool):
        self.client, self.run, self.work, self.shards, self.direct = client, run, work, shards, direct
        self.number = 0
        # host -> name -> transfer, running or complete
        self.sent: dict[Host, dict[Any, asyncio.Future]] = {}
        self.states: dict[Host, tuple[np.ndarray, asyncio.Future]] = {}
        self.packing_slots = asyncio.Semaphore(_MAX_PACKING)

    async def work_on(self, host: Host) -> Future:
        """Return the work on a host."""
        return await self._sent_once(host, "work", lambda: self._send(host, "work", RemoteHandle(self.work)))

    async def shard_on(self, host: Host, worker: int) -> Future:
        """Return a worker's shard on a host."""
        return await self._sent_once(host, worker, lambda: self._send_shard(host, worker))

    async def state_on(self, host: Host, state: np.ndarray) -> Future | np.ndarray:
        """Return a state on a host, and drop the previous one.  A small state is returned as it is."""
        if state.nbytes <= _INLINE_BYTES:
            return state
        known = self.states.get(host)
        if known is None or known[0] is not state or _failed(known[1]):
            known = (state, start_task(self._send(host, "state", state)))
            self.states[host] = known
        return await asyncio.shield(known[1])

    async def send(self, host: Host, vector: np.ndarray) -> Future:
        """Send a vector that is used once."""
        return await self._send(host, "vector", vector)

    def keys_of_work(self) -> dict[Host, str]:
        """Return the key of the work on each host."""
        found = {host: sent_here.get("work") for host, sent_here in self.sent.items()}
        return {host: one.result().key for host, one in found.items() if one and one.done() and not _failed(one)}

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Replace the shards of all workers."""
        self.shards = shards
        for host, sent_here in self.sent.items():
            self.sent[host] = {what: value for what, value in sent_here.items() if what == "work"}

    def keep(self, workers_of: Callable[[Host], Sequence[int]]) -> None:
        """Drop the shards of workers that have moved to another host."""
        for host, sent_here in self.sent.items():
            needed = ("work", *workers_of(host))
            self.sent[host] = {what: value for what, value in sent_here.items() if what in needed}

    def drop(self, host: Host) -> None:
        """Forget the objects sent to a host."""
        self.sent.pop(host, None)
        self.states.pop(host, None)

    def clear(self) -> None:
        """Release all objects on all hosts."""
        self.sent.clear()
        self.states.clear()

    async def _sent_once(self, host: Host, what: Any, sending: Any) -> Future:
        sent_here = self.sent.setdefault(host, {})
        if what not in sent_here or _failed(sent_here[what]):
            sent_here[what] = start_task(sending())
        return await asyncio.shield(sent_here[what])

    async def _send_shard(self, host: Host, worker: int) -> Future:
        async with self.packing_slots:
            shard = self.shards[worker].portable()
            sent = await self._send(host, f"shard-{worker}", RemoteHandle(shard))
            # Dask transfers data that are already on the cluster
            futures = shard.futures() if hasattr(shard, "futures") else []
            return await self._filled(host, sent, futures) if futures else sent

    async def _filled(self, host: Host, sent: Future, futures: list[Future]) -> Future:
        """Return the shard on a host, with the results of its futures."""
        self.number += 1
        key = f"parsgd-{self.run}-filled-{self.number}"
        made = self.client.submit(
            filled, sent, futures, key=key, workers=[host.address], allow_other_workers=False, pure=False
        )
        with self.client.as_current():
            ready = wait([made])
        try:
            await ready
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

    async def _send(self, host: Host, what: str, value: Any) -> Future:
        self.number += 1
        key = f"parsgd-{self.run}-{what}-{self.number}"
        futures = await self.client.scatter(
            {key: value}, workers=[host.address], direct=self.direct, hash=False, asynchronous=True
        )
        return futures[key]


def _failed(sent: asyncio.Future) -> bool:
    """Return True if a transfer failed, or its object is no longer available."""
    if not sent.done():
        return False
    return sent.cancelled() or sent.exception() is not None or sent.result().status != "finished"
