"""References to objects of Ray: states of the driver, and results of actors."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from parsgd.engines.ray.ray_api import LOST, ObjectRef, ray

# Smaller states are sent inside their tasks, as Ray does with all arguments up to this size.
_INLINE_BYTES = 100_000
# Seconds between two checks for Ctrl-C.
_POLL_S = 0.1


class ActorLostError(Exception):
    """An operation on an actor failed because the actor or its node is lost; the message has the reason."""


class StateStore:
    """The last state that the driver has put into the object store, where all actors of a node read the same copy."""

    def __init__(self) -> None:
        self.last: tuple[np.ndarray, ObjectRef] | None = None

    def put(self, state: np.ndarray) -> np.ndarray | ObjectRef:
        """Return a reference to a state, put once for all tasks that start from it, or a small state itself."""
        if state.nbytes <= _INLINE_BYTES:
            return state
        if self.last is None or self.last[0] is not state:
            self.last = state, ray.put(state)
        return self.last[1]

    def clear(self) -> None:
        """Drop the state."""
        self.last = None


def wait_for(refs: Sequence[ObjectRef], seconds: float) -> list[ObjectRef]:
    """Wait for the first result, and return all that have arrived."""
    if not refs:
        time.sleep(seconds)
        return []
    ready, waiting = ray.wait(list(refs), num_returns=1, timeout=seconds)
    if ready and waiting:
        ready += ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
    return ready


def fetch(ref: ObjectRef, host: object, timeout_s: float = float("inf")) -> object:
    """Return a result of an actor.  Raises ActorLostError if the actor is lost, and errors of its code."""
    end = time.monotonic() + timeout_s
    try:
        while not ray.wait([ref], timeout=_POLL_S)[0]:
            if time.monotonic() > end:
                raise ActorLostError(f"{host} has not answered for {timeout_s:g} s.")
        return ray.get(ref)
    except LOST as error:
        raise ActorLostError(f"{host} was lost ({_reason(error)}).") from error


def _reason(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
