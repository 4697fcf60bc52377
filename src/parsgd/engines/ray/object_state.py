"""States that remain in the object stores of the nodes that computed them, and are added there, in a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from parsgd.core import Task
from parsgd.engines import remote_reports
from parsgd.engines.cluster_vector import ClusterVector
from parsgd.engines.ray.actor_hosts import ActorHost, ActorHosts
from parsgd.engines.ray.object_refs import ActorLostError
from parsgd.engines.ray.ray_api import ObjectRef, RayError, ray
from parsgd.utils.tree_reduce import FAN_IN, groups_of

# Maximum number of attempts to compute a sum when nodes are lost.
_ATTEMPTS = 5


class TaskRunner(Protocol):
    """The part of the pool that a state needs."""

    hosts: ActorHosts

    def host_of(self, worker: int) -> ActorHost | None: ...

    def run_again(self, task: Task) -> tuple[ObjectRef, str]: ...

    def fetch_from(self, host: ActorHost, ref: ObjectRef) -> object: ...


@dataclass(eq=False)
class ObjectState(ClusterVector):
    """The state of a report, as an object of Ray on a node.

    If the node is lost before the state is used, the pool runs the task again; it contains all that is needed.
    """

    pool: TaskRunner
    task: Task
    ref: ObjectRef
    node: str

    def sum_there(self, vectors: Sequence[np.ndarray | ClusterVector], weights: np.ndarray) -> np.ndarray:
        # all remote vectors of a fit are of its engine
        own = cast("Sequence[np.ndarray | ObjectState]", vectors)
        why = ""
        for attempt in range(_ATTEMPTS):
            try:
                return _tree(self.pool, own, weights)
            except (ActorLostError, RayError) as error:
                why = str(error)
                self._recover([vector for vector in own if isinstance(vector, ObjectState)], surely=attempt > 0)
        raise OSError(f"the workers' states could not be added up in {_ATTEMPTS} attempts; the last time {why}")

    def _recover(self, states: Sequence[ObjectState], surely: bool) -> None:
        """Run the tasks of lost states again: of those on lost nodes, or ``surely`` of all."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for state in states:
            if surely or state.node not in alive:
                try:
                    state.ref, state.node = self.pool.run_again(state.task)
                except ActorLostError:
                    return  # the next attempt runs it on another actor


# A summand and its node, or an array on this machine.
_Part = tuple[ObjectRef, str] | tuple[np.ndarray, None]


def _tree(pool: TaskRunner, vectors: Sequence[np.ndarray | ObjectState], weights: np.ndarray) -> np.ndarray:
    """Add groups of vectors until few enough are left for a single sum."""
    dtype = vectors[0].dtype
    parts: list[_Part] = [(v.ref, v.node) if isinstance(v, ObjectState) else (v, None) for v in vectors]
    while len(parts) > FAN_IN:
        groups = groups_of(len(parts))
        sums = [_sum_where_most_are(pool, parts[group], remote_reports.branch, weights[group]) for group in groups]
        parts = [(ref, host.place.node) for ref, host in sums]
        weights = np.ones(len(parts))
    total, host = _sum_where_most_are(pool, parts, remote_reports.root, weights, dtype)
    return remote_reports.aligned(cast("np.ndarray", pool.fetch_from(host, total)))


def _sum_where_most_are(
    pool: TaskRunner, parts: Sequence[_Part], function: Callable[..., np.ndarray], *arguments: object
) -> tuple[ObjectRef, ActorHost]:
    """Add vectors on the node that holds most of them; the sum remains there."""
    node = Counter(node for _, node in parts).most_common(1)[0][0]
    hosts = pool.hosts.ready
    if not hosts:
        raise ActorLostError("all Ray workers were lost")
    # the actors of a node take turns
    there = [host for host in hosts if host.place.node == node] or hosts
    host = there[len(parts) % len(there)]
    return host.call("add", "control", function, arguments, *(vector for vector, _ in parts)), host
