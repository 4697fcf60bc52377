"""Messages between the driver and a worker process."""

from __future__ import annotations

from typing import NamedTuple

from parsgd.engines.error_transport import PackedError
from parsgd.engines.processes.shared_memory import Place

# -- from the driver ---------------------------------------------------------------------------------------------------


class StartFit(NamedTuple):
    """Start of a fit: the pickled work, and where the driver finds modules.

    ``path`` is the driver's import path, and ``modules`` lists those that it imported from its current ``folder``.
    """

    work: bytes
    path: list[str]
    modules: list[str]
    folder: str


class RunTask(NamedTuple):
    """A pickled task, the worker's shard unless it was sent before, and the buffer for a large state of its report."""

    serial: int
    worker: int
    task: bytes
    shard: bytes | None
    buffer: Place | None


class SkipTask(NamedTuple):
    """A task that the driver has given up."""

    serial: int


class Halt(NamedTuple):
    """Request to end the round early."""


class DropShards(NamedTuple):
    """All shards are no longer needed; new ones follow."""


class EndFit(NamedTuple):
    """End of a fit."""


# -- from a worker process ---------------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """The process is ready for a fit."""


class Heartbeat(NamedTuple):
    """The process is running a task."""


class TaskProgress(NamedTuple):
    """Examples since the last message, and the mean loss."""

    serial: int
    examples: int
    loss: float


class TaskEnded(NamedTuple):
    """The pickled report of a task, or its error, and its pickled warnings."""

    serial: int
    result: bytes | PackedError
    warned: bytes | None


FromDriver = StartFit | RunTask | SkipTask | Halt | DropShards | EndFit
FromWorker = Ready | Heartbeat | TaskProgress | TaskEnded
