"""Snapshots of a running fit, and fits that continue from one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from parsgd.errors import Outcome
from parsgd.training.snapshot import Snapshot

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop


def take_snapshot(loop: Loop, seconds: float, outcome: Outcome | None = None) -> Snapshot:
    """Return a snapshot between two rounds, after ``seconds`` of the fit."""
    idle = set(loop.idle)
    busy = [loop.last_task(worker) for worker in loop.alive if worker not in idle]
    return Snapshot(
        state=loop.state,
        answer=loop.answer,
        # workers modify shared memory at any time
        memory=None if loop.shares_memory else loop.memory,
        schedule_step=loop.schedule_step,
        lr_scale=loop.lr_scale,
        round=loop.round,
        examples=loop.examples,
        epochs=loop.epochs,
        epoch_examples=loop.epoch_examples,
        epoch_objective=loop.epoch_objective.copy(),
        cursors=tuple(loop.cursors),
        shard_fractions=loop.shard_fractions,
        # a score may still be added to the last entry
        history=[*loop.history[:-1], *(dict(entry) for entry in loop.history[-1:])],
        best=loop.stopping.best,
        idle=loop.stopping.idle,
        scores=list(loop.stopping.scores),
        best_state=loop.stopping.best_state,
        under_way=tuple(sorted(busy, key=lambda task: (task.round, task.worker))),
        seconds=seconds,
        outcome=outcome,
        worker_states=tuple(state for _, state in loop.kept) if loop.returns_worker_states else (),
    )


def restore_snapshot(loop: Loop, found: Snapshot) -> None:
    """Continue from a snapshot, before the first round.

    All workers are available again, including those lost before the snapshot.
    """
    loop.state, loop.answer = found.state, found.answer
    loop.schedule_step, loop.lr_scale = found.schedule_step, found.lr_scale
    loop.round, loop.examples, loop.epochs, loop.seconds = found.round, found.examples, found.epochs, found.seconds
    loop.epoch_examples, loop.epoch_objective = found.epoch_examples, found.epoch_objective.copy()
    loop.shard_fractions, loop.cursors = found.shard_fractions, list(found.cursors)
    loop.history = list(found.history)
    loop.stopping.resume_from(found.best, found.idle, found.scores, found.best_state)
    if found.worker_states:
        loop.kept = [(-1, state) for state in found.worker_states]
    for task in found.under_way:
        last_round, worker_state = loop.kept[task.worker]
        loop.tasks[task.worker] = replace(task, last_round=last_round, worker_state=worker_state)
    loop.busy = [task.worker for task in found.under_way]
    busy = set(loop.busy)
    loop.idle = [worker for worker in loop.alive if worker not in busy]
    # shared memory is created from the state
    loop.memory = loop.algorithm.init_memory(loop.fit_state()) if loop.shares_memory else found.memory
