"""Availability of Dask workers, polled from the scheduler twice per second; the loss of one ends all waits for it.

A Dask task that is bound to one worker would wait for it without a limit.  All operations on a worker therefore run in
:func:`while_alive`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from distributed import CancelledError, KilledWorker

T = TypeVar("T")
# Seconds between two polls, and the time limit of a poll.
_POLL_S, _POLL_TIMEOUT_S = 0.5, 5.0
# States of workers that accept tasks, now or soon.
_ACTIVE_STATES = ("init", "running", "paused")


class HostLostError(Exception):
    """An operation on a host failed because the host is lost; the message has the reason."""


@dataclass(eq=False)
class Host:
    """A Dask worker process; the future ``lost`` receives the reason when it becomes unavailable.

    ``last_seen`` is the time of its last heartbeat on the scheduler's clock.  ``updated_s`` is the time of its change
    on this machine's clock; clocks of two machines are not compared.
    """

    address: str
    last_seen: float
    updated_s: float
    lost: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class WorkerInfo(TypedDict):
    """The scheduler's information about a Dask worker."""

    status: str
    nthreads: int
    last_seen: float


def start_task(doing: Awaitable[T]) -> asyncio.Future[T]:
    """Start a coroutine as a task; its error is not reported if it is never awaited."""
    future = asyncio.ensure_future(doing)
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return future


async def while_alive(hosts: Iterable[Host], doing: Awaitable[T]) -> T:
    """Return the result of ``doing``; raise HostLostError if one of the hosts is lost before."""
    task, ends = start_task(doing), [host.lost for host in hosts]
    try:
        await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HostLostError(next(end.result() for end in ends if end.done()))
        return task.result()
    finally:
        task.cancel()


@contextlib.contextmanager
def host_errors(address: str) -> Generator[None]:
    """Convert connection errors, and Dask's errors about lost data, to HostLostError."""
    try:
        yield
    except asyncio.CancelledError as error:
        # Dask's cancellation of lost data looks like a cancellation of this coroutine
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        raise HostLostError(f"the Dask worker at {address} was lost.") from error
    except CancelledError as error:
        raise HostLostError(f"the Dask worker at {address} was lost, and what it was doing.") from error
    except (OSError, TimeoutError, KilledWorker) as error:
        raise HostLostError(f"the Dask worker at {address} was lost ({type(error).__name__}: {error}).") from error


@dataclass(eq=False)
class LivenessMonitor:
    """Monitor of the hosts of one pool.  It runs in the client's event loop.

    ``workers`` asks the scheduler for the Dask workers.  After the start, ``joined`` and ``left`` are called for each
    host that appears or disappears.  A host that is new, or was lost, is used only after another heartbeat.  A host
    that crashes at startup therefore receives no rows; a nanny does not restart a process that crashes while it starts.
    """

    workers: Callable[[], Awaitable[dict[str, WorkerInfo] | None]]
    heartbeat_timeout_s: float
    joined: Callable[[Host], None]
    left: Callable[[Host], None]
    hosts: dict[str, Host] = field(default_factory=dict[str, Host])
    suspects: dict[str, float] = field(default_factory=dict[str, float])
    response_s: float = field(default_factory=time.monotonic)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start polling."""
        self._task = asyncio.ensure_future(self._poll_forever())

    def stop(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            if not await self.update():
                return

    @property
    def unanswered_s(self) -> float:
        """Seconds since the last answer of the scheduler."""
        return time.monotonic() - self.response_s

    async def update(self) -> bool:
        """Poll the scheduler once; return False if the client was closed."""
        try:
            workers = await asyncio.wait_for(self.workers(), _POLL_TIMEOUT_S)
        except (OSError, TimeoutError):
            return True  # ``unanswered_s`` grows
        if workers is None:
            return False
        self.response_s = now = time.monotonic()
        active = {address: info for address, info in workers.items() if info["status"] in _ACTIVE_STATES}
        for address in [address for address in self.hosts if address not in active]:
            self.remove(self.hosts[address], f"the Dask worker at {address} is no longer available.")
        for address, info in active.items():
            self._record_heartbeat(address, info, now)
        return True

    def _record_heartbeat(self, address: str, info: WorkerInfo, now: float) -> None:
        seen, host = info["last_seen"], self.hosts.get(address)
        if host is None:
            if self.suspects.setdefault(address, seen) != seen or self._task is None:
                del self.suspects[address]
                self.hosts[address] = Host(address, seen, now)
                if self._task is not None:
                    self.joined(self.hosts[address])
        elif seen != host.last_seen:
            host.last_seen, host.updated_s = seen, now
        elif now - host.updated_s > self.heartbeat_timeout_s:
            self.remove(host, f"the Dask worker at {address} has sent no heartbeat for {self.heartbeat_timeout_s:g} s.")

    def remove(self, host: Host, why: str) -> None:
        """Remove a host."""
        if self.hosts.get(host.address) is host:
            del self.hosts[host.address]
            self.suspects[host.address] = host.last_seen
            host.lost.set_result(why)
            if self._task is not None:
                self.left(host)
