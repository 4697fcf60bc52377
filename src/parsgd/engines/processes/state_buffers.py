"""Buffers for the states of tasks; a large state is written once for all workers that start from it."""

from __future__ import annotations

import numpy as np

from parsgd.core import Task
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.shared_buffers import SharedBuffers
from parsgd.engines.processes.shared_memory import InSlot, Layout, PickledObject, is_shareable


class StateBuffers:
    """Shared buffers with the large states of running tasks."""

    def __init__(self) -> None:
        self.slots: SharedBuffers = SharedBuffers()
        self.users: dict[int, int] = {}
        self.last: tuple[np.ndarray, int, int] | None = None

    def pack(self, payload: FitPayload, task: Task) -> tuple[PickledObject, int | None]:
        """Pickle a task; return it with the buffer number of its state, or None if the state is pickled."""
        state = task.state
        if not (is_shareable(state) and state.flags.c_contiguous):
            return payload.pack_task(task), None
        slot = self._slot(state, task.round)
        placed = InSlot(slot, Layout.of(state))
        return payload.pack_task(task, lambda array: placed if array is state else None), slot

    def _slot(self, state: np.ndarray, round: int) -> int:
        # the same array may have other values in another round
        if self.last is None or self.last[0] is not state or self.last[1] != round:
            self.last = state, round, self.slots.put(state)
        slot = self.last[2]
        self.users[slot] = self.users.get(slot, 0) + 1
        return slot

    def release(self, slot: int | None) -> None:
        """Record that a task with this buffer has ended."""
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
