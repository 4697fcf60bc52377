"""A crew whose workers live on the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from distributed import Client, Future, wait

from parsgd.core import ProgressCallback, Report, Shard, Task, TaskFailed, WorkFn
from parsgd.engines.dask import remote_tasks
from parsgd.engines.dask.liveness import Host, HostLostError, LivenessMonitor, losing, while_there
from parsgd.engines.dask.remote_state import RemoteState
from parsgd.engines.dask.transfer import ScatterCache
from parsgd.engines.placement import Placement, assign_by_locality
from parsgd.errors import IncompatiblePartsError, MissingDependencyError, WorkersLostError

# So often whoever waits looks whether Ctrl-C was pressed, or the scheduler is gone.
_LISTEN_S = 0.1
# The longest that the order to stop, and saying goodbye, may take.
_HALT_S, _CLOSE_S = 2.0, 5.0


def refuse_after_the_end(cause: BaseException | None = None) -> None:
    """Raise if the main thread has ended: from then on Dask takes no work."""
    if not threading.main_thread().is_alive():
        raise IncompatiblePartsError(
            "engine='dask' was used by a thread that outlives the main thread, and Dask takes no work while the"
            " interpreter shuts down. Join the thread in the main one, or use engine='processes'."
        ) from cause


class DaskWorkerPool:
    """Each task is an errand: a coroutine in the client's event loop that sees to it that the host has what is needed,
    submits one future bound to that host, and brings its report.

    Keys are ``parsgd-RUN-ROUND-WORKER-NUMBER``.  A host that is gone ends the errands there with
    :class:`~parsgd.core.TaskFailed`; by then its workers live on others.
    """

    def __init__(
        self,
        client: Client,
        closing: Callable[[], None],
        work: WorkFn,
        shards: Sequence[Shard],
        pulse: ProgressCallback,
        *,
        in_tree: bool,
        direct: bool,
        heartbeat_timeout_s: float,
        worker_timeout_s: float,
    ):
        self.client, self.closing, self.shards, self.pulse = client, closing, shards, pulse
        self.in_tree, self.worker_timeout_s = in_tree, worker_timeout_s
        self.run = uuid.uuid4().hex[:12]
        self.answers: SimpleQueue[Report | TaskFailed | BaseException] = SimpleQueue()
        self.pending = self.n_sent = self.n_submitted = 0
        self.told_to_halt = False
        self.errands: set[asyncio.Task] = set()
        # futures of rounds that are over.  To release them is a message, and within 10 ms of a message a client holds
        # back the next one; so they are released together with what is submitted next.
        self.spent: list[Future] = []
        self.placement: Placement | None = None
        self.cargo = ScatterCache(client, self.run, work, shards, direct)
        self.watch = LivenessMonitor(client, heartbeat_timeout_s, self._joined, self._left)
        try:
            self.call(self._begin)
        except BaseException:
            self.close()
            raise

    # -- the crew's verbs, in the caller's thread --------------------------------------------------------------------

    def send(self, task: Task) -> None:
        self.pending += 1
        self.n_sent += 1
        self.client.loop.add_callback(self._set_out, task, self.n_sent)

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        came: list[Report | TaskFailed] = []
        while self.pending and (len(came) < at_least or not self.answers.empty()):
            answer = self._next()
            self.pending -= 1
            if isinstance(answer, BaseException):
                refuse_after_the_end(answer)
                raise answer
            if isinstance(answer, Report):
                self.pulse(answer.worker, answer.examples, _Progress(answer))
            came.append(answer)
        return came

    def _next(self) -> Report | TaskFailed | BaseException:
        while True:
            try:
                return self.answers.get(timeout=_LISTEN_S)
            except Empty:
                self._listen()

    def _listen(self) -> None:
        """Pass on the order to stop; notice that nobody is there to answer."""
        if getattr(self.pulse, "halted", False) and not self.told_to_halt:
            self.told_to_halt = True
            self.client.loop.add_callback(self._halt)
        ended = self.client.status in ("closing", "closed")
        if ended or self.watch.unanswered_s > self.worker_timeout_s:
            for_s = "" if ended else f" for {self.worker_timeout_s:g} s"
            raise WorkersLostError(
                f"The Dask scheduler does not answer{for_s}, and with it all workers are lost. Is the cluster still"
                " running? Start it again, and fit again with Dask(address=...)."
            )

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards
        self.client.loop.add_callback(self._deal, shards)

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        # a scheduler that is gone needs no goodbye
        with contextlib.suppress(Exception):
            self.call(self._end, callback_timeout=_CLOSE_S)
        for shard in self.shards:
            shard.close()
        self.closing()

    def call(self, function: Callable[..., Awaitable], *arguments: Any, **settings: Any) -> Any:
        """Run a coroutine function in the event loop and wait for it."""
        return self.client.sync(function, *arguments, asynchronous=False, **settings)

    # -- errands, in the event loop ----------------------------------------------------------------------------------

    async def _begin(self) -> None:
        end = time.monotonic() + self.worker_timeout_s
        await self.look()
        while not self.watch.hosts:
            if time.monotonic() > end:
                address = self.client.scheduler.address
                raise WorkersLostError(
                    f"The Dask cluster at {address} has no workers, and none came within {self.worker_timeout_s:g} s."
                    f" Start some: dask worker {address}"
                )
            await asyncio.sleep(_LISTEN_S)
            await self.look()
        self.placement = self._placed(self.shards)
        self.watch.start()

    async def _end(self) -> None:
        self.watch.stop()
        busy = [errand for errand in self.errands if not errand.done()]
        for errand in busy:
            errand.cancel()
        try:
            if busy:
                await asyncio.wait(busy)
                await asyncio.wait_for(self._halt(), _HALT_S)
        finally:
            self.spent.clear()
            self.cargo.clear()

    async def _halt(self) -> None:
        """Tell the tasks under way to stop, so that they report what they have; it cannot hurt where there is none."""
        names = self.cargo.keys_of_work()
        addresses = [host.address for host in names if not host.gone.done()]
        with contextlib.suppress(OSError, TimeoutError):
            await self.client.run(
                remote_tasks.halt, list(names.values()), workers=addresses, on_error="ignore", asynchronous=True
            )

    def _deal(self, shards: Sequence[Shard]) -> None:
        self.cargo.set_shards(shards)
        if self.watch.hosts:
            self.placement = self._placed(shards)
        else:
            self.placement.weigh([shard.n_rows for shard in shards])

    def _placed(self, shards: Sequence[Shard]) -> Placement:
        """Workers on the hosts that are there, near their rows where these lie in memory already (``Shard.home``)."""
        hosts = self.watch.hosts
        homes = assign_by_locality([hosts.get(getattr(shard, "home", None)) for shard in shards], list(hosts.values()))
        return Placement([shard.n_rows for shard in shards], list(hosts.values()), homes)

    def _set_out(self, task: Task, number: int) -> None:
        errand = asyncio.ensure_future(self._errand(task, number))
        self.errands.add(errand)
        errand.add_done_callback(self.errands.discard)

    async def _errand(self, task: Task, number: int) -> None:
        try:
            answer = await self._answer(task)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # whatever it is, it is the driver's to raise
            answer = error
        self.answers.put(answer)

    async def _answer(self, task: Task) -> Report | TaskFailed:
        worker = task.worker
        host = await self._host_of(worker)
        if host is None:
            return TaskFailed(
                worker, task.round, f"no Dask worker came within {self.worker_timeout_s:g} s to take its rows"
            )
        try:
            return await self._attempt(task, host)
        except HostLostError as gone:
            self.watch.lose(host, str(gone))
            replaced = await self._host_of(worker) is not None
            nobody = "" if replaced else f" No other came within {self.worker_timeout_s:g} s to take its rows."
            return TaskFailed(worker, task.round, (str(gone) + nobody).rstrip("."), replaced)

    async def _host_of(self, worker: int) -> Host | None:
        """The host of a worker, or None if there is none and none comes in time."""
        end = time.monotonic() + self.worker_timeout_s
        while self.placement.host_of(worker) is None:
            if time.monotonic() > end:
                return None
            await asyncio.sleep(_LISTEN_S)
        return self.placement.host_of(worker)

    async def _attempt(self, task: Task, host: Host) -> Report:
        """Do a task on a host; raises Gone where that cannot be, and what the task raises."""
        report = await self._submitted(task, host)
        if not self.in_tree:
            found = await self.bring(report, [host])
            self.spent.append(report)
            return replace(found, state=remote_tasks.aligned(found.state))
        told, dtype, size = await self.bring(self.submit(remote_tasks.stripped, report, host=host), [host])
        return replace(told, state=RemoteState(self, task, report, host, dtype, size))

    async def _submitted(self, task: Task, host: Host) -> Future:
        """The future of a task's report."""
        with losing(host.address):
            packed = asyncio.gather(
                self.cargo.work_on(host), self.cargo.shard_on(host, task.worker), self.cargo.state_on(host, task.state)
            )
            work, shard, state = await while_there([host], packed)
        if isinstance(state, Future):
            self.spent.append(state)
        bare = replace(task, state=np.empty(0))
        name = f"{task.round}-{task.worker}"
        return self.submit(remote_tasks.descend, work, shard, bare, state, host=host, name=name)

    # -- what elsewhere.py asks for ------------------------------------------------------------------------------------

    def submit(self, function: Callable, *arguments: Any, host: Host, name: str = "sum") -> Future:
        """A future of ``function(*arguments)``, on that host and on no other."""
        self.n_submitted += 1
        future = self.client.submit(
            function, *arguments, key=f"parsgd-{self.run}-{name}-{self.n_submitted}", workers=[host.address],
            allow_other_workers=False, pure=False, retries=0,
        )  # fmt: skip
        self.spent.clear()
        return future

    async def bring(self, future: Future, hosts: Iterable[Host]) -> Any:
        """What a future gives, while all hosts that have to do with it are there; raises what its task raised."""
        hosts = list(hosts)
        where = ", ".join(host.address for host in hosts)
        with losing(where):
            await while_there(hosts, self._settled(future))
            if future.status != "error":
                return await while_there(hosts, self.client.gather(future, direct=self.cargo.direct, asynchronous=True))
            error = await future.exception()
        raise self._explained(error, where)

    def _settled(self, future: Future) -> Awaitable:
        """Wait for a future, whatever becomes of it."""
        with self.client.as_current():
            return wait([future])

    def _explained(self, error: BaseException, where: str) -> BaseException:
        """An error of a task, with a note that says where it was met."""
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "parsgd":
            return MissingDependencyError(f"The Dask worker at {where} has no parsgd: install the same version there.")
        error.add_note(f"(On the Dask worker at {where}.)")
        return error

    async def lend(self, vector: np.ndarray, host: Host) -> Future:
        """A vector, on a host."""
        with losing(host.address):
            return await while_there([host], self.cargo.send(host, vector))

    async def again(self, task: Task) -> tuple[Future, Host]:
        """Do a task once more, wherever its worker lives now: its state is lost, and the state is needed."""
        host = await self._host_of(task.worker)
        if host is None:
            raise WorkersLostError(
                f"worker {task.worker} is lost: no Dask worker came within {self.worker_timeout_s:g} s."
            )
        report = await self._submitted(task, host)
        with losing(host.address):
            await while_there([host], self._settled(report))
        return report, host

    async def look(self) -> None:
        """See who is there now."""
        with contextlib.suppress(OSError, TimeoutError):
            await self.watch.look()

    # -- hosts come and go ---------------------------------------------------------------------------------------------

    def _joined(self, host: Host) -> None:
        if self.placement is not None:
            self.placement.join(host)
            self.cargo.keep(self.placement.workers_of)

    def _left(self, host: Host) -> None:
        if self.placement is not None:
            self.placement.lose(host)
        self.cargo.drop(host)


class _Progress:
    """What the pulse asks of a descent, told of a whole task."""

    def __init__(self, report: Report):
        self.report = report

    def mean_loss(self) -> float:
        return float(np.mean(self.report.loss)) / max(self.report.examples, 1)
