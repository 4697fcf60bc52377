"""Snapshot of a fit between two rounds; a fit that resumes from it ends with the same bits.

It omits everything that can be derived.  Shards follow from seed and ``shard_fractions``, the order of rows from seed
and epoch, and shared memory from the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np

from parsgd.core import Algorithm, Budget, Model, Shard, Task
from parsgd.errors import Outcome


@dataclass(frozen=True)
class Snapshot:
    """Immutable record of a fit between two rounds.  It refers to arrays that are no longer modified.

    The training loop makes it and resumes from it.  ``shard_fractions`` are those of the present shards, None for equal
    ones.  ``best, idle, scores, best_state`` are the memory of the stopping rule.  ``under_way`` are the unanswered
    tasks in the order of sending; a resumed fit sends them again.  ``seconds`` is the duration of the fit so far, and
    ``outcome`` its outcome, None if it has not ended.  ``worker_states`` are those of the model's workers.
    """

    state: np.ndarray
    answer: np.ndarray | None
    memory: Any
    schedule_step: float
    lr_scale: np.ndarray
    round: int
    examples: int
    epochs: int
    epoch_examples: int
    epoch_objective: np.ndarray
    cursors: tuple[int, ...]
    shard_fractions: np.ndarray | None
    history: list[dict[str, Any]]
    best: np.ndarray | None
    idle: np.ndarray | None
    scores: list[float]
    best_state: np.ndarray | None
    under_way: tuple[Task, ...]
    seconds: float
    outcome: Outcome | None
    worker_states: tuple[Any, ...] = ()

    @property
    def ended(self) -> bool:
        """True if the fit was complete."""
        return self.outcome is not None

    def plain(self) -> dict[str, Any]:
        """Return names and values, free of classes of this package except in the algorithm's memory."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "under_way": [_plain_task(task) for task in self.under_way]}

    @staticmethod
    def of(plain: dict[str, Any]) -> Snapshot:
        """Return the snapshot of a :meth:`plain` dictionary.  Raises TypeError for unknown names."""
        tasks: list[dict[str, Any]] = plain["under_way"]
        under_way = tuple(Task(**dict[str, Any]({**task, "budget": Budget(**task["budget"])})) for task in tasks)
        return Snapshot(**dict[str, Any]({**plain, "under_way": under_way}))


class Checkpointer(Protocol):
    """An object that stores what a fit needs to resume (:mod:`parsgd.checkpointing`).

    The training loop calls its methods.
    """

    def open(
        self, model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int], max_epochs: int
    ) -> Snapshot | None:
        """Return the snapshot to resume from, or None for a new fit.  Called before any worker starts."""

    def begin(self, snapshot: Snapshot) -> None:
        """Check that the first snapshot of a new fit can be stored.  Called before any worker starts."""

    def offer(self, snapshot: Snapshot) -> None:
        """Store the snapshot if one is due.  Called in every round, while the workers compute."""

    def rescue(self) -> None:
        """Store the last offered snapshot.  Called when the fit is interrupted or fails."""

    def end(self, snapshot: Snapshot) -> None:
        """Store the final snapshot.  Called when the fit is complete."""


def _plain_task(task: Task) -> dict[str, Any]:
    # asdict would copy the state, which two tasks may share
    plain = {field.name: getattr(task, field.name) for field in fields(task)}
    return {**plain, "budget": asdict(task.budget)}
