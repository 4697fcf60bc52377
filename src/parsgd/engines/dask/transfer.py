"""What the workers of a crew need of the driver: the work, their shards, the state; sent once to each host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from distributed import CancelledError, Client, Future, wait

from parsgd.core import Shard, WorkFn
from parsgd.engines.dask.liveness import Host, begun
from parsgd.engines.dask.remote_tasks import RemoteHandle, filled
from parsgd.errors import DataFileError

# Shards that are packed at the same time: each takes the driver's memory once more.
_PACKED_AT_A_TIME = 2
# Smaller states travel within their tasks, by way of the scheduler.
_WITHIN_BYTES = 1 << 20


class ScatterCache:
    """Sends things to hosts, and knows what is there already.  Lives in the client's event loop.

    Nothing of it exists only there: what is lost with a host is sent again.
    """

    def __init__(self, client: Client, run: str, work: WorkFn, shards: Sequence[Shard], direct: bool):
        self.client, self.run, self.work, self.shards, self.direct = client, run, work, shards, direct
        self.number = 0
        # host -> what -> on its way, or there
        self.there: dict[Host, dict[Any, asyncio.Future]] = {}
        self.states: dict[Host, tuple[np.ndarray, asyncio.Future]] = {}
        self.packing = asyncio.Semaphore(_PACKED_AT_A_TIME)

    async def work_on(self, host: Host) -> Future:
        """The work, on a host."""
        return await self._held(host, "work", lambda: self._send(host, "work", RemoteHandle(self.work)))

    async def shard_on(self, host: Host, worker: int) -> Future:
        """A worker's shard, on a host."""
        return await self._held(host, worker, lambda: self._send_shard(host, worker))

    async def state_on(self, host: Host, state: np.ndarray) -> Future | np.ndarray:
        """A state, on a host; the one before is dropped.  One that is small travels within the task."""
        if state.nbytes <= _WITHIN_BYTES:
            return state
        known = self.states.get(host)
        if known is None or known[0] is not state or _failed(known[1]):
            known = (state, begun(self._send(host, "state", state)))
            self.states[host] = known
        return await asyncio.shield(known[1])

    async def send(self, host: Host, vector: np.ndarray) -> Future:
        """A vector that is needed once."""
        return await self._send(host, "vector", vector)

    def keys_of_work(self) -> dict[Host, str]:
        """Under which name the work lies on each host."""
        found = {host: things.get("work") for host, things in self.there.items()}
        return {host: one.result().key for host, one in found.items() if one and one.done() and not _failed(one)}

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Other shards for the workers."""
        self.shards = shards
        for host, things in self.there.items():
            self.there[host] = {what: thing for what, thing in things.items() if what == "work"}

    def keep(self, workers_of: Callable[[Host], Sequence[int]]) -> None:
        """Workers have moved: of their shards, keep those that lie where they live."""
        for host, things in self.there.items():
            needed = ("work", *workers_of(host))
            self.there[host] = {what: thing for what, thing in things.items() if what in needed}

    def drop(self, host: Host) -> None:
        """Forget what was sent to a host."""
        self.there.pop(host, None)
        self.states.pop(host, None)

    def clear(self) -> None:
        """Let go of everything everywhere."""
        self.there.clear()
        self.states.clear()

    async def _held(self, host: Host, what: Any, sending: Any) -> Future:
        things = self.there.setdefault(host, {})
        if what not in things or _failed(things[what]):
            things[what] = begun(sending())
        return await asyncio.shield(things[what])

    async def _send_shard(self, host: Host, worker: int) -> Future:
        async with self.packing:
            shard = self.shards[worker].portable()
            sent = await self._send(host, f"shard-{worker}", RemoteHandle(shard))
            # what lies on the cluster already is handed over by Dask
            futures = shard.futures() if hasattr(shard, "futures") else []
            return await self._filled(host, sent, futures) if futures else sent

    async def _filled(self, host: Host, sent: Future, futures: list[Future]) -> Future:
        """The shard with what its futures give, on a host."""
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
            # not for want of a host: whoever takes this shard will lack them
            raise DataFileError(
                f"{lost} of {len(futures)} partitions of a shard were lost with the Dask worker that held them, and"
                " Dask cannot compute them again, because they were scattered. Give open_dataset delayed blocks or a"
                " collection; or scatter with broadcast=True."
            ) from None
        return made

    async def _send(self, host: Host, what: str, thing: Any) -> Future:
        self.number += 1
        key = f"parsgd-{self.run}-{what}-{self.number}"
        futures = await self.client.scatter(
            {key: thing}, workers=[host.address], direct=self.direct, hash=False, asynchronous=True
        )
        return futures[key]


def _failed(sent: asyncio.Future) -> bool:
    """Whether it did not arrive, or is there no more."""
    if not sent.done():
        return False
    return sent.cancelled() or sent.exception() is not None or sent.result().status != "finished"
