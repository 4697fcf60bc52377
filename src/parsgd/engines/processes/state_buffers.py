"""States of tasks on their way to processes: large ones are written once for all workers that set out from the same."""

from __future__ import annotations

import numpy as np

from parsgd.core import Task
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.shared_buffers import SharedBuffers
from parsgd.engines.processes.shared_memory import PickledObject, travels_apart


class StateBuffers:
    """Where the states of tasks lie: large ones in slots, one for all workers that set out from the same."""

    def __init__(self) -> None:
        self.slots = SharedBuffers()
        self.users: dict[int, int] = {}
        self.last: tuple[np.ndarray, int, int] | None = None

    def pack(self, parcels: FitPayload, task: Task) -> tuple[PickledObject, int | None]:
        """A task, packed, and the slot of its state, if it has one."""
        state = task.state
        if not (isinstance(state, np.ndarray) and travels_apart(state) and state.flags.c_contiguous):
            return parcels.pack_task(task, lambda array: None), None
        slot = self._slot(state, task.round)
        placed = ("slot", slot, state.dtype, state.shape, "C")
        return parcels.pack_task(task, lambda array: placed if array is state else None), slot

    def _slot(self, state: np.ndarray, round: int) -> int:
        # the same array may hold other numbers in another round
        if self.last is None or self.last[0] is not state or self.last[1] != round:
            self.last = state, round, self.slots.put(state)
        slot = self.last[2]
        self.users[slot] = self.users.get(slot, 0) + 1
        return slot

    def release(self, slot: int | None) -> None:
        """A task that set out from it is done with."""
        if slot is None:
            return
        self.users[slot] -= 1
        if self.users[slot] == 0:
            self.slots.release(slot)
            if self.last is not None and self.last[2] == slot:
                self.last = None

    def close(self) -> None:
        self.slots.close()
        self.last = None
