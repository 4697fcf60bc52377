"""Actors of a fit: their start, their heartbeats, and the replacement of lost ones."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from parsgd.engines.error_transport import PackedError, unpacked_error
from parsgd.engines.ray.object_refs import ActorLostError, fetch
from parsgd.engines.ray.ray_api import ObjectRef, on_node, ray
from parsgd.engines.ray.worker_actor import ActorPlace, TaskPulse, remote_class

# Seconds between two heartbeats of a busy actor.
_PULSE_S = 0.5
# Seconds between two attempts to start actors in place of lost ones.
_RECRUIT_S = 1.0
# Seconds after the first actor for which the driver waits for the others.
_GATHER_S = 10.0
# Numbers of the fits of this process.
_fits = itertools.count()
# Place of an actor that has not answered yet.
_NOWHERE = ActorPlace(0, "", "")


@dataclass(eq=False)
class ActorHost:
    """An actor: a process of the cluster that runs the tasks of one or several workers.

    ``workers`` have their shard there.  Ray was asked to start the actor on the node ``target``.  ``begun`` is the
    answer to a request to begin a fit, and ``place`` its content.  ``pulse`` is the answer to a request for a
    heartbeat, ``waited_s`` the time for which it is missing, and ``pulsed_s`` the time of the last request.
    """

    actor: Any
    begun: ObjectRef | None = None
    place: ActorPlace = _NOWHERE
    workers: set[int] = field(default_factory=set[int])
    target: str = ""
    pulse: ObjectRef | None = None
    pulsed_s: float = 0.0
    waited_s: float = 0.0

    def begin(self, fit: int, work: ObjectRef) -> None:
        """Request the actor to begin a fit."""
        self.begun = self.call("begin", "tasks", fit, [folder for folder in sys.path if folder], work)
        self.workers.clear()
        self.pulse, self.waited_s = None, 0.0

    def call(self, method: str, group: str, *arguments: object, n_results: int = 1) -> Any:
        """Call a method of the actor in one of its threads; return the reference to its result, or several."""
        return getattr(self.actor, method).options(concurrency_group=group, num_returns=n_results).remote(*arguments)

    def touch(self) -> None:
        """Note that the actor has work from now on; a heartbeat is needed later."""
        if self.pulse is None:
            self.pulsed_s = time.monotonic()

    def ask_for_pulse(self) -> None:
        """Request a heartbeat."""
        self.pulse, self.waited_s, self.pulsed_s = self.call("pulse", "control"), 0.0, time.monotonic()

    def skip(self, serial: int) -> None:
        """Request a task that was given up to stop, if the actor still runs."""
        self.call("skip", "control", serial)

    def kill(self) -> None:
        """End the process, also one that does not answer."""
        # a cluster that has ended has no actors
        with contextlib.suppress(Exception):
            ray.kill(self.actor, no_restart=True)

    def __str__(self) -> str:
        if not self.place.process:
            return "a new Ray worker"
        return f"the Ray worker with pid {self.place.process} on the node {self.place.address}"


@dataclass(eq=False)
class ActorCache:
    """Actors that wait for the next fit; ``closed``: they are killed instead."""

    closed: bool = False
    hosts: list[ActorHost] = field(default_factory=list[ActorHost])

    def take(self, n_hosts: int) -> list[ActorHost]:
        """Return up to ``n_hosts`` actors."""
        taken, self.hosts = self.hosts[:n_hosts], self.hosts[n_hosts:]
        return taken

    def give_back(self, hosts: Sequence[ActorHost]) -> None:
        """Keep actors, or kill them."""
        if self.closed:
            for host in hosts:
                host.kill()
        else:
            self.hosts += hosts

    def close(self) -> None:
        """Kill all actors."""
        self.closed = True
        self.give_back(self.take(len(self.hosts)))


class ActorHosts:
    """The actors of a fit: ``ready`` for tasks, ``starting``, or ``silent`` because their heartbeat is missing.

    After the start, ``joined`` and ``left`` are called for each actor that becomes ready or is lost.
    """

    def __init__(
        self,
        cache: ActorCache,
        n_processes: int | None,
        heartbeat_timeout_s: float,
        joined: Callable[[ActorHost], None],
        left: Callable[[ActorHost, str], None],
    ):
        self.cache: ActorCache = cache
        self.n_processes: int | None = n_processes
        self.heartbeat_timeout_s: float = heartbeat_timeout_s
        self.joined: Callable[[ActorHost], None] = joined
        self.left: Callable[[ActorHost, str], None] = left
        self.ready: list[ActorHost] = []
        self.starting: list[ActorHost] = []
        self.silent: list[ActorHost] = []
        self.fit: int = next(_fits)
        self.work: ObjectRef | None = None
        self.n_workers: int = 1
        self.nodes: list[str] = []
        # reason of the last loss
        self.why: str = ""
        self.recruited_s: float = 0.0
        self.first_ready_s: float = float("inf")

    # -- start and end -------------------------------------------------------------------------------------------------

    def begin(self, work: ObjectRef, n_workers: int, homes: Iterable[str | None]) -> None:
        """Start actors for the workers; ``homes`` are the nodes that hold rows."""
        self.work, self.n_workers = work, n_workers
        self.nodes = [node for node, _ in Counter(home for home in homes if home is not None).most_common()]
        self.starting = self.cache.take(self._n_wanted())
        for host in self.starting:
            host.begin(self.fit, work)
        self._recruit()

    def gathered(self) -> bool:
        """Return True if there are actors, and no other is to be expected soon."""
        if not self.ready or not self.starting:
            return bool(self.ready)
        late = time.monotonic() > self.first_ready_s + _GATHER_S
        return late or n_free_cores() < 1 and time.monotonic() > self.first_ready_s + 2 * _RECRUIT_S

    def close(self, grace_s: float) -> None:
        """End the fit on all actors, and kill those that do not answer."""
        kept: list[ActorHost] = []
        lost = [*self.starting, *self.silent]
        try:
            ends = {host.call("end", "tasks"): host for host in self.ready}
            ended: list[ObjectRef] = ray.wait(list(ends), num_returns=len(ends), timeout=grace_s)[0] if ends else []
            for ref in ended:
                with contextlib.suppress(ActorLostError):
                    fetch(ref, ends[ref])
                    kept.append(ends[ref])
            self.cache.give_back(kept)
        finally:
            for host in [*lost, *(host for host in self.ready if host not in kept)]:
                host.kill()
            self.ready, self.starting, self.silent, self.work = [], [], [], None

    def on_nodes(self, nodes: Sequence[str | None]) -> list[ActorHost | None]:
        """Return for each node one of its actors, in turn; None if it has none."""
        there = {node: [host for host in self.ready if host.place.node == node] for node in nodes if node is not None}
        turns = {node: itertools.cycle(hosts) for node, hosts in there.items() if hosts}
        return [next(turns[node]) if node in turns else None for node in nodes]

    # -- answers -------------------------------------------------------------------------------------------------------

    def answers(self) -> dict[ObjectRef, ActorHost]:
        """Return the expected answers of the actors, besides results of tasks."""
        begun = {host.begun: host for host in self.starting if host.begun is not None}
        return begun | {host.pulse: host for host in (*self.ready, *self.silent) if host.pulse is not None}

    def take_answer(self, host: ActorHost, ref: ObjectRef) -> TaskPulse | None:
        """Handle an answer that has arrived; return it if it is a heartbeat."""
        try:
            answer = fetch(ref, host)
        except ActorLostError as error:
            self.lose(host, str(error))
            return None
        if isinstance(answer, PackedError):
            raise unpacked_error(answer, "a Ray worker that prepared for the fit")
        if ref is host.begun:
            host.place, host.begun = cast("ActorPlace", answer), None
            self.starting.remove(host)
            self._add(host)
            return None
        host.pulse, host.waited_s = None, 0.0
        if host in self.silent:
            self.silent.remove(host)
            self._add(host)
        return cast("TaskPulse", answer)

    def _add(self, host: ActorHost) -> None:
        self.ready.append(host)
        self.first_ready_s = min(self.first_ready_s, time.monotonic())
        self.joined(host)

    def look_after(self, busy: set[ActorHost], waited_s: float) -> None:
        """Request heartbeats of busy actors, give up silent ones, and start others in place of lost ones."""
        now = time.monotonic()
        for host in list(self.ready):
            if host.pulse is not None:
                host.waited_s += waited_s
                if host.waited_s > self.heartbeat_timeout_s:
                    self.lose(host, f"{host} sent no heartbeat for {self.heartbeat_timeout_s:g} s", silent=True)
            elif host in busy and now - host.pulsed_s > _PULSE_S:
                host.ask_for_pulse()
        if now - self.recruited_s > _RECRUIT_S and len(self.ready) + len(self.starting) < self.n_workers:
            self._recruit()

    def lose(self, host: ActorHost, why: str, silent: bool = False) -> None:
        """Give up an actor; a silent one is used again when it answers."""
        for group in (self.ready, self.starting, self.silent):
            if host in group:
                group.remove(host)
        self.why = why
        host.workers.clear()
        if silent:
            self.silent.append(host)
        else:
            host.kill()
        self.left(host, why.rstrip("."))

    # -- new actors ----------------------------------------------------------------------------------------------------

    def _n_wanted(self) -> int:
        return min(self.n_workers, self.n_processes or n_cores())

    def _recruit(self) -> None:
        """Start missing actors; Ray runs them when it has free cores."""
        self.recruited_s = time.monotonic()
        assert self.work is not None
        n_missing = self._n_wanted() - len(self.ready) - len(self.starting)
        if n_missing > 0:
            for node in self._free_slots()[:n_missing]:
                host = start_host(node)
                host.begin(self.fit, self.work)
                self.starting.append(host)

    def _free_slots(self) -> list[str]:
        """Return the node of each core without an actor of the fit, nodes in turn, first those that hold rows."""
        taken = Counter([host.place.node for host in self.ready] + [host.target for host in self.starting])
        cores = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
        order = [node for node in self.nodes if node in cores] + [node for node in cores if node not in self.nodes]
        return [
            node
            for turn in range(max(cores.values(), default=0))
            for node in order
            if taken[node] <= turn < cores[node]
        ]


def start_host(node: str) -> ActorHost:
    """Start an actor, preferably on a node."""
    return ActorHost(remote_class().options(scheduling_strategy=on_node(node)).remote(), target=node)


def n_cores() -> int:
    """Return the number of cores of the cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def n_free_cores() -> int:
    """Return the number of cores that no actor and no task uses."""
    return int(ray.available_resources().get("CPU", 0))
