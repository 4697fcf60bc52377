"""Worker pool on a Ray cluster."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from parsgd.core import Report, Shard, StoppableProgress, Task, TaskFailed, WorkFn
from parsgd.engines.error_transport import PackedError, WarningRegistry, unpacked_error, warn_again
from parsgd.engines.placement import Placement, assign_by_locality
from parsgd.engines.ray.actor_hosts import ActorCache, ActorHost, ActorHosts
from parsgd.engines.ray.object_refs import ActorLostError, StateStore, fetch, wait_for
from parsgd.engines.ray.object_state import ObjectState
from parsgd.engines.ray.ray_api import ObjectRef, ray
from parsgd.engines.ray.worker_actor import SentShard, TaskAnswer
from parsgd.engines.remote_reports import aligned_report, packed, refuse_other_futures
from parsgd.engines.reported_loss import ReportedLoss
from parsgd.errors import IncompatiblePartsError, WorkersLostError

# Unique over all pools, so that late answers are recognized.
_serials = itertools.count()
# Maximum delay of Ctrl-C, and of the detection of a lost actor that runs no task.
_POLL_S = 0.1
# Time limit for actors to end a fit; they first complete a call into compiled code.
_GRACE_S = 2.0


@dataclass
class _Running:
    """A running task: its actor, the references to its result and to its state apart, and the reported examples."""

    task: Task
    host: ActorHost
    ended: ObjectRef
    state: ObjectRef | None
    reported: int = 0


@dataclass
class _Stranded:
    """A task without an actor: not sent yet (``why`` is empty), or lost and not reported until another takes its rows.

    It waits until the time ``deadline``.
    """

    task: Task
    why: str
    deadline: float


class RayWorkerPool:
    """Driver's side of the actors; all of it runs in the thread of the driver.

    Each actor runs the tasks of one or several workers.  If an actor is lost, its workers move to the others, and the
    driver starts another actor in its place.
    """

    def __init__(
        self,
        closing: Callable[[], object],
        cache: ActorCache,
        work: WorkFn,
        shards: Sequence[Shard],
        progress: StoppableProgress,
        *,
        n_processes: int | None,
        in_tree: bool,
        heartbeat_timeout_s: float,
        worker_timeout_s: float,
    ):
        self.closing: Callable[[], object] = closing
        self.shards: Sequence[Shard] = shards
        self.progress: StoppableProgress = progress
        self.in_tree: bool = in_tree
        self.worker_timeout_s: float = worker_timeout_s
        self.running: dict[int, _Running] = {}
        self.stranded: list[_Stranded] = []
        self.arrived: deque[Report | TaskFailed | BaseException] = deque()
        self.states: StateStore = StateStore()
        self.registry: WarningRegistry = {}
        self.halted: bool = False
        self.closed: bool = False
        self.placement: Placement[ActorHost] | None = None
        self.hosts: ActorHosts = ActorHosts(cache, n_processes, heartbeat_timeout_s, self._joined, self._left)
        try:
            refuse_other_futures(shards, "ray", "ray")
            self.hosts.begin(ray.put(_packed_work(work)), max(len(shards), 1), [shard.home for shard in shards])
            self._gather()
        except BaseException:
            self.close()
            raise

    def _gather(self) -> None:
        """Wait for the actors that have a free core; others join later."""
        end = time.monotonic() + self.worker_timeout_s
        while not self.hosts.gathered():
            if time.monotonic() > end and not self.hosts.ready:
                why = f" The last one ended: {self.hosts.why}" if self.hosts.why else ""
                raise WorkersLostError(
                    f"The Ray cluster has no free core for a worker, and none came within {self.worker_timeout_s:g} s."
                    f" End other programs on it, or add nodes: ray start --address=...{why}"
                )
            self._wait(_POLL_S)
        self._place_workers()

    def _place_workers(self) -> None:
        """Assign workers to the present actors, preferably to those on the node that holds their rows."""
        hosts = self.hosts.ready
        preferred = self.hosts.on_nodes([shard.home for shard in self.shards])
        homes = assign_by_locality(preferred, hosts)
        self.placement = Placement([shard.n_rows for shard in self.shards], hosts, homes)

    # -- worker pool ---------------------------------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        host = self.host_of(task.worker)
        if host is None:
            self.stranded.append(_Stranded(task, "", time.monotonic() + self.worker_timeout_s))
        else:
            self._start_task(task, host)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        results: list[Report | TaskFailed] = []
        until = math.inf
        while self.arrived or self.running or self.stranded:
            while self.arrived:
                result = self.arrived.popleft()
                if isinstance(result, BaseException):
                    raise result
                results.append(result)
            if len(results) >= at_least:
                until = min(until, time.perf_counter() + within_s)
            left = until - time.perf_counter()
            if left <= 0.0 or (until < math.inf and self.halted):
                break
            self._wait(min(left, _POLL_S))
        return results

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards
        for host in self.hosts.ready:
            host.workers.clear()
        if self.hosts.ready:
            self._place_workers()
        elif self.placement is not None:
            self.placement.set_rows([shard.n_rows for shard in shards])

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        """End the fit on the actors, and kill those that do not answer."""
        if self.closed:
            return
        self.closed = True
        try:
            if self.running:
                self._halt()
            self.running.clear()
            self.stranded.clear()
            self.states.clear()
            self.hosts.close(_GRACE_S)
        finally:
            self.arrived.clear()
            for shard in self.shards:
                shard.close()
            self.closing()

    # -- sending -------------------------------------------------------------------------------------------------------

    def host_of(self, worker: int) -> ActorHost | None:
        """Return the actor of a worker; None if all are lost."""
        return None if self.placement is None else self.placement.host_of(worker)

    def _start_task(self, task: Task, host: ActorHost) -> None:
        serial = next(_serials)
        self.running[serial] = self.submit(serial, task, host)

    def submit(self, serial: int, task: Task, host: ActorHost) -> _Running:
        """Send a task to an actor."""
        shard, parts = None, ()
        if task.worker not in host.workers:
            portable = self.shards[task.worker].portable()
            shard, parts = SentShard(packed(portable), frozenset(host.workers)), portable.futures()
            host.workers.add(task.worker)
        host.touch()
        arguments = serial, replace(task, state=np.empty(0)), self.states.put(task.state), shard, self.in_tree
        if self.in_tree:
            return _Running(task, host, *host.call("run", "tasks", *arguments, *parts, n_results=2))
        return _Running(task, host, host.call("run", "tasks", *arguments, *parts), None)

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Wait briefly for answers, and look after the actors."""
        began = time.monotonic()
        tasks = {running.ended: serial for serial, running in self.running.items()}
        answers = self.hosts.answers()
        ready = wait_for([*tasks, *answers], seconds)
        for ref in ready:
            if ref in answers:
                self._take_answer(answers[ref], ref)
            elif tasks[ref] in self.running:
                self._end_task(tasks[ref])
        if not ready and self.running:
            # the callback may request a stop
            self._report_progress(next(iter(self.running.values())), 0, math.nan)
        if self.progress.halted:
            self._halt()
        # a driver that was stopped did not receive answers
        waited = min(time.monotonic() - began, 2.0 * _POLL_S)
        self.hosts.look_after({running.host for running in self.running.values()}, waited)
        self._settle()

    def _take_answer(self, host: ActorHost, ref: ObjectRef) -> None:
        pulse = self.hosts.take_answer(host, ref)
        running = None if pulse is None else self.running.get(pulse.serial)
        if pulse is not None and running is not None and pulse.examples > running.reported:
            self._report_progress(running, pulse.examples - running.reported, pulse.loss)

    def _end_task(self, serial: int) -> None:
        """Add the report or the error of a task to the results."""
        running = self.running[serial]
        try:
            ended = cast("TaskAnswer", fetch(running.ended, running.host))
        except ActorLostError as error:
            self.hosts.lose(running.host, str(error))
            return
        except BaseException as error:
            del self.running[serial]
            self.arrived.append(error)
            return
        del self.running[serial]
        warn_again(ended.warned, self.registry)
        if isinstance(ended.result, PackedError):
            who = f"worker {running.task.worker} in round {running.task.round}, {running.host}"
            self.arrived.append(unpacked_error(ended.result, who))
            return
        report = self.with_state(ended, running)
        if report.examples > running.reported:
            loss = float(np.mean(report.loss)) / max(report.examples, 1)
            self._report_progress(running, report.examples - running.reported, loss)
        self.arrived.append(report)

    def with_state(self, ended: TaskAnswer, running: _Running) -> Report:
        """Return a report with its state, which may be one that remains on its node."""
        report = aligned_report(cast("Report", ended.result))
        if ended.form is None or running.state is None:
            return report
        dtype, size = ended.form
        state = ObjectState(dtype, size, self, running.task, running.state, running.host.place.node)
        # ``Report.state`` may be such a state, which acts as an array
        return replace(report, state=cast("np.ndarray", state))

    def _report_progress(self, running: _Running, examples: int, loss: float) -> None:
        running.reported += examples
        if not self.progress(running.task.worker, examples, ReportedLoss(loss)):
            self._halt()

    def _halt(self) -> None:
        if not self.halted:
            self.halted = True
            for host in self.hosts.ready:
                host.call("halt", "control", self.hosts.fit)

    # -- actors come and go --------------------------------------------------------------------------------------------

    def _joined(self, host: ActorHost) -> None:
        if self.placement is not None:
            self.placement.join(host)
            for other in self.hosts.ready:
                other.workers.intersection_update(self.placement.workers_of(other))
        if self.halted:
            host.call("halt", "control", self.hosts.fit)

    def _left(self, host: ActorHost, why: str) -> None:
        """Move the workers of an actor to others; its tasks are lost."""
        if self.placement is not None:
            self.placement.remove(host)
        for serial, running in list(self.running.items()):
            if running.host is host:
                if host in self.hosts.silent:
                    host.skip(serial)
                del self.running[serial]
                self.stranded.append(_Stranded(running.task, why, time.monotonic() + self.worker_timeout_s))

    def _settle(self) -> None:
        """Send or report the stranded tasks whose workers have an actor, and report those that waited too long."""
        waiting, self.stranded = self.stranded, []
        none_came = f"came within {self.worker_timeout_s:g} s"
        for stranded in waiting:
            task, why = stranded.task, stranded.why
            host = self.host_of(task.worker)
            if host is not None and why:
                self.arrived.append(TaskFailed(task.worker, task.round, why, True))
            elif host is not None:
                self._start_task(task, host)
            elif self.halted or time.monotonic() > stranded.deadline:
                why = f"{why} No other {none_came}" if why else f"no Ray worker {none_came} to take its rows"
                self.arrived.append(TaskFailed(task.worker, task.round, why, False))
            else:
                self.stranded.append(stranded)

    def run_again(self, task: Task) -> tuple[ObjectRef, str]:
        """Run a task whose state was lost again; return the reference to the state, and its node.

        Raises ActorLostError if this fails, too.
        """
        end = time.monotonic() + self.worker_timeout_s
        while (host := self.host_of(task.worker)) is None:
            if time.monotonic() > end:
                raise WorkersLostError(
                    f"worker {task.worker} is lost: no Ray worker came within {self.worker_timeout_s:g} s."
                )
            self._wait(_POLL_S)
        running = self.submit(next(_serials), task, host)
        assert running.state is not None
        self.fetch_from(host, running.ended)
        return running.state, host.place.node

    def fetch_from(self, host: ActorHost, ref: ObjectRef) -> object:
        """Wait for a result of an actor outside of a round.  Raises ActorLostError if the actor is lost."""
        try:
            return fetch(ref, host, self.hosts.heartbeat_timeout_s)
        except ActorLostError as error:
            self.hosts.lose(host, str(error))
            raise


def _packed_work(work: WorkFn) -> bytes:
    try:
        return packed(work)
    except Exception as error:
        raise IncompatiblePartsError(
            f"engine='ray' sends the model and the algorithm to other processes, and they cannot be pickled: {error}."
            " Use parts that can (numbers, arrays, classes, functions), or use engine='threads'."
        ) from error
