"""Typed interface to a Dask client, limited to what the engine needs."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

import distributed
from distributed import Client

from parsgd.engines.dask.liveness import Host, WorkerInfo, host_errors, while_alive
from parsgd.errors import MissingDependencyError

T = TypeVar("T")
# Dask annotates few of its functions.
_distributed: Any = distributed


class RemoteData(Protocol):
    """A future of Dask: data on the cluster, which exist while it is referenced."""

    @property
    def key(self) -> str: ...

    @property
    def status(self) -> str: ...

    def exception(self) -> Awaitable[BaseException]: ...


class Cluster:
    """Operations of one fit on a cluster.  Coroutines run in the client's event loop.

    Keys of data are ``parsgd-RUN-NAME-NUMBER``.  With ``direct``, data do not pass through the scheduler.
    """

    def __init__(self, client: Client, direct: bool):
        self._client: Any = client
        self._direct = direct
        self._run = uuid.uuid4().hex[:12]
        self._number = 0

    # -- in any thread -------------------------------------------------------------------------------------------------

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the event loop, and do not wait."""
        self._client.loop.add_callback(function, *arguments)

    def call(self, function: Callable[..., Awaitable[T]], *arguments: object, timeout_s: float | None = None) -> T:
        """Run a coroutine function in the event loop and wait for it."""
        return self._client.sync(function, *arguments, asynchronous=False, callback_timeout=timeout_s)

    @property
    def closed(self) -> bool:
        """True if the client was closed."""
        return self._client.status in ("closing", "closed")

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return self._client.scheduler.address

    def n_threads(self) -> int:
        """Return the number of threads of all Dask workers."""
        workers: dict[str, WorkerInfo] = self._client.scheduler_info()["workers"]
        return sum(worker["nthreads"] for worker in workers.values())

    # -- in the event loop ---------------------------------------------------------------------------------------------

    async def workers(self) -> dict[str, WorkerInfo] | None:
        """Return the Dask workers by address, from the scheduler; None if the client was closed."""
        if self._client.scheduler is None:
            return None
        return (await self._client.scheduler.identity())["workers"]

    def submit(self, host: Host, name: str, function: Callable[..., object], *arguments: object) -> RemoteData:
        """Return a future of ``function(*arguments)``, bound to one host."""
        return self._client.submit(
            function,
            *arguments,
            key=self._key(name),
            workers=[host.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )

    async def scatter(self, host: Host, name: str, value: object) -> RemoteData:
        """Send an object to a host."""
        key = self._key(name)
        futures = await self._client.scatter(
            {key: value}, workers=[host.address], direct=self._direct, hash=False, asynchronous=True
        )
        return futures[key]

    async def finished(self, future: RemoteData) -> None:
        """Wait until a future has finished or failed."""
        with self._client.as_current():
            waiting: Awaitable[object] = _distributed.wait([future])
        await waiting

    async def fetch(self, future: RemoteData, hosts: Iterable[Host]) -> Any:
        """Return the result of a future while all involved hosts are available; raise the error of its task."""
        hosts = list(hosts)
        where = ", ".join(host.address for host in hosts)
        with host_errors(where):
            await while_alive(hosts, self.finished(future))
            if future.status != "error":
                gathered: Awaitable[Any] = self._client.gather(future, direct=self._direct, asynchronous=True)
                return await while_alive(hosts, gathered)
            error = await future.exception()
        raise _with_location(error, where)

    async def run_everywhere(self, addresses: list[str], function: Callable[..., object], *arguments: object) -> None:
        """Run a function in the event loops of the Dask workers at ``addresses``; its errors are ignored."""
        await self._client.run(function, *arguments, workers=addresses, on_error="ignore", asynchronous=True)

    def _key(self, name: str) -> str:
        self._number += 1
        return f"parsgd-{self._run}-{name}-{self._number}"


def active_client() -> Client | None:
    """Return the active synchronous client (``with distributed.Client(...)``), if any."""
    try:
        client: Client = _distributed.default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client


def in_task() -> bool:
    """Return True inside a task of Dask."""
    return hasattr(_distributed.worker.thread_state, "execution_state")


def _with_location(error: BaseException, where: str) -> BaseException:
    """Return an error of a task with a note that names its Dask worker."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "parsgd":
        return MissingDependencyError(f"The Dask worker at {where} has no parsgd: install the same version there.")
    error.add_note(f"(On the Dask worker at {where}.)")
    return error
