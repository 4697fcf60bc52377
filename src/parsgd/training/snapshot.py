"""Where a fit stands between two rounds, with all that it takes to go on from there to the same bits.

What can be made again is not in it: shards are dealt by seed and shard_fractions, orders of rows follow from seed and
epoch, and what workers share in memory is made of the state.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from parsgd.core import Budget, Task
from parsgd.errors import Outcome


@dataclass(frozen=True)
class Snapshot:
    """See the module.  It holds references to arrays that nobody changes any more, and costs no copy of a state.

    ``shard_fractions`` are those by which the rows were dealt last, None for equal ones.  ``best, idle, scores,
    best_state`` is what the rule of stopping remembers.  ``under_way`` are the tasks that had been sent before and were
    not yet answered, in the order of sending: they are sent again.  ``seconds`` is how long the fit has taken so far,
    and ``outcome`` how it ended, if it did.
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

    @property
    def ended(self) -> bool:
        """Whether the fit had ended by itself."""
        return self.outcome is not None

    def plain(self) -> dict[str, Any]:
        """Names and values, of which none is a class of ours but what the algorithm remembers."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "under_way": [_plain_task(task) for task in self.under_way]}

    @staticmethod
    def of(plain: dict[str, Any]) -> Snapshot:
        """The inverse of :meth:`plain`.  Raises TypeError for names that are not a snapshot's."""
        tasks = ({**task, "budget": Budget(**task["budget"])} for task in plain["under_way"])
        return Snapshot(**{**plain, "under_way": tuple(Task(**task) for task in tasks)})


def _plain_task(task: Task) -> dict[str, Any]:
    # not asdict: it would copy the state, and two tasks may share one
    plain = {field.name: getattr(task, field.name) for field in fields(task)}
    return {**plain, "budget": asdict(task.budget)}


# What is taken from the loop, and what from its rule of stopping, as it is.
_OF_LOOP = (
    "state", "answer", "schedule_step", "lr_scale", "round", "examples", "epochs", "epoch_examples", "shard_fractions",
)  # fmt: skip
_OF_RULE = ("best", "idle", "best_state")


def take(loop: Any, seconds: float, outcome: Outcome | None = None) -> Snapshot:
    """The snapshot of a loop (:class:`parsgd.training.loop.Loop`) that stands between two rounds."""
    idle = set(loop.idle)
    busy = [loop.tasks[worker] for worker in loop.alive if worker not in idle]
    return Snapshot(
        **{name: getattr(loop, name) for name in _OF_LOOP},
        **{name: getattr(loop.stopping, name) for name in _OF_RULE},
        # what workers write to is never at rest
        memory=None if _shares_memory(loop) else loop.memory,
        epoch_objective=loop.epoch_objective.copy(),
        cursors=tuple(loop.cursors),
        # a score may yet be written into the last entry
        history=[*loop.history[:-1], *(dict(entry) for entry in loop.history[-1:])],
        scores=list(loop.stopping.scores),
        under_way=tuple(sorted(busy, key=lambda task: (task.round, task.worker))),
        seconds=seconds,
        outcome=outcome,
    )


def put_back(loop: Any, snapshot: Snapshot) -> None:
    """Have a loop that has not begun stand where the snapshot was taken.

    Workers that had been lost are there again: they are other ones.
    """
    for name in _OF_LOOP:
        setattr(loop, name, getattr(snapshot, name))
    for name in _OF_RULE:
        setattr(loop.stopping, name, getattr(snapshot, name))
    loop.stopping.scores = list(snapshot.scores)
    loop.epoch_objective = snapshot.epoch_objective.copy()
    loop.cursors = list(snapshot.cursors)
    loop.history = list(snapshot.history)
    for task in snapshot.under_way:
        loop.tasks[task.worker] = task
    loop.busy = [task.worker for task in snapshot.under_way]
    loop.idle = [worker for worker in loop.alive if worker not in loop.busy]
    loop.seconds = snapshot.seconds
    # made anew of the state, for these workers
    loop.memory = loop.algorithm.init_memory(loop.standing()) if _shares_memory(loop) else snapshot.memory


def _shares_memory(loop: Any) -> bool:
    return "shared_memory" in loop.algorithm.requires
