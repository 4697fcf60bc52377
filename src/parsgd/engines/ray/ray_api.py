"""The package ray and the parts of it that the engine needs; it annotates few of its functions."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

ray: Any = import_module("ray")
_exceptions: Any = import_module("ray.exceptions")
_strategies: Any = import_module("ray.util.scheduling_strategies")
# Constants that Ray reads from the environment when it is imported.
constants: Any = import_module("ray._private.ray_constants")

# Errors of an object, an actor or a node; an error that code raised in an actor is none of them.
LOST: tuple[type[Exception], ...] = (
    _exceptions.RayActorError,
    _exceptions.ObjectLostError,
    _exceptions.NodeDiedError,
    _exceptions.WorkerCrashedError,
    _exceptions.OutOfMemoryError,
    _exceptions.LocalRayletDiedError,
)
# All errors of Ray.
RayError: type[Exception] = _exceptions.RayError


class ObjectRef(Protocol):
    """Reference to an object of Ray, which exists while it is referenced."""

    def hex(self) -> str: ...


def on_node(node: str) -> object:
    """Return the scheduling strategy that prefers a node.

    >>> type(on_node("0" * 56)).__name__
    'NodeAffinitySchedulingStrategy'
    """
    return _strategies.NodeAffinitySchedulingStrategy(node, soft=True)
