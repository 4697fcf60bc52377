"""Which Dask workers there are, asked of the scheduler twice a second; who is gone is known at once to all that wait.

Dask lets a task that is bound to one worker wait for it for ever.  So whatever is done with a worker's help is done
*while it is there* (:func:`while_there`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distributed import CancelledError, Client, KilledWorker

T = TypeVar("T")
# Seconds between two looks, and the longest that a look may take.
_LOOK_S, _LOOK_TIMEOUT_S = 0.5, 5.0
# Workers in these states take tasks, now or in a moment.
_THERE = ("init", "running", "paused")


class HostLostError(Exception):
    """What was to be done on a worker will not be done there; the message says why."""


@dataclass(eq=False)
class Host:
    """A Dask worker process; ``gone`` gets the reason when it is no longer there.

    ``last_seen`` is the scheduler's time of its last heartbeat, ``heard_s`` when that was news here: the clocks of two
    machines are not compared.
    """

    address: str
    threads: int
    last_seen: float
    heard_s: float
    gone: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def begun(doing: Awaitable[T]) -> asyncio.Future[T]:
    """A coroutine that runs from now on; if nobody waits for it, nobody hears how it ended."""
    future = asyncio.ensure_future(doing)
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return future


async def while_there(hosts: Iterable[Host], doing: Awaitable[T]) -> T:
    """What ``doing`` gives; raises Gone when one of the hosts is gone before."""
    task, ends = begun(doing), [host.gone for host in hosts]
    try:
        await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HostLostError(next(end.result() for end in ends if end.done()))
        return task.result()
    finally:
        task.cancel()


@contextlib.contextmanager
def losing(address: str) -> Iterator[None]:
    """Errors of the connection, and of Dask about what it has lost, as HostLostError."""
    try:
        yield
    except asyncio.CancelledError as error:
        # Dask may cancel what it has lost in the same words in which a coroutine is told to end
        if asyncio.current_task().cancelling():
            raise
        raise HostLostError(f"the Dask worker at {address} was lost.") from error
    except CancelledError as error:
        raise HostLostError(f"the Dask worker at {address} was lost, and what it was doing.") from error
    except (OSError, TimeoutError, KilledWorker) as error:
        raise HostLostError(f"the Dask worker at {address} was lost ({type(error).__name__}: {error}).") from error


class LivenessMonitor:
    """Looks after the hosts of one crew.  Lives in the client's event loop.

    ``joined`` and ``left`` are told of each host that comes and goes.  One that was found wanting, and one that is new,
    is not counted on before it gives another sign of life: who dies as it begins has no time to take rows with it, and
    a nanny restarts no process that dies while it is being started.
    """

    def __init__(
        self, client: Client, heartbeat_timeout_s: float, joined: Callable[[Host], None], left: Callable[[Host], None]
    ):
        self.client, self.heartbeat_timeout_s = client, heartbeat_timeout_s
        self.joined, self.left = joined, left
        self.hosts: dict[str, Host] = {}
        self.wanting: dict[str, float] = {}
        self.answered_s = time.monotonic()
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Look twice a second from now on."""
        self._task = asyncio.ensure_future(self._keep_looking())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self.client.scheduler is None:
                return  # the client was closed
            # a scheduler that does not answer shows in ``unanswered_s``
            with contextlib.suppress(OSError, TimeoutError):
                await self.look()

    @property
    def unanswered_s(self) -> float:
        """For how long the scheduler has not answered."""
        return time.monotonic() - self.answered_s

    async def look(self) -> None:
        """Ask the scheduler once."""
        identity = await asyncio.wait_for(self.client.scheduler.identity(), _LOOK_TIMEOUT_S)
        self.answered_s = now = time.monotonic()
        there = {address: said for address, said in identity["workers"].items() if said["status"] in _THERE}
        for address in [address for address in self.hosts if address not in there]:
            self.lose(self.hosts[address], f"the Dask worker at {address} is gone.")
        for address, said in there.items():
            self._hear(address, said, now)

    def _hear(self, address: str, said: dict[str, Any], now: float) -> None:
        seen, host = said["last_seen"], self.hosts.get(address)
        if host is None:
            if self.wanting.setdefault(address, seen) != seen or self._task is None:
                del self.wanting[address]
                self.hosts[address] = Host(address, said["nthreads"], seen, now)
                self.joined(self.hosts[address])
        elif seen != host.last_seen:
            host.last_seen, host.heard_s = seen, now
        elif now - host.heard_s > self.heartbeat_timeout_s:
            self.lose(
                host, f"the Dask worker at {address} has given no sign of life for {self.heartbeat_timeout_s:g} s."
            )

    def lose(self, host: Host, why: str) -> None:
        """Count on a host no more."""
        if self.hosts.get(host.address) is host:
            del self.hosts[host.address]
            self.wanting[host.address] = host.last_seen
            host.gone.set_result(why)
            self.left(host)
