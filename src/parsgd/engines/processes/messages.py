"""Messages between the driver and a worker process."""

from __future__ import annotations

from typing import NamedTuple

from parsgd.engines.processes.error_transport import PackedError
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


class SendShard(NamedTuple):
    """The pickled shard of a worker."""

    worker: int
    shard: bytes


class RunTask(NamedTuple):
    """A pickled task, and the buffer for the state of its report, if that state is large."""

    serial: int
    worker: int
    task: bytes
    buffer: Place | None


class SkipTask(NamedTuple):
    """A task that the driver has given up."""

    serial: int


class Halt(NamedTuple):
    """Request to end the round early."""


class DropShards(NamedTuple):
    """All shards are no longer needed; new ones follow."""


class EndFit(NamedTuple):
    """End of a fit; the process exits if it is ``leaving``."""

    leaving: bool


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


class TaskDone(NamedTuple):
    """A pickled report, and the pickled warnings of the task."""

    serial: int
    report: bytes
    warned: bytes | None


class TaskRaised(NamedTuple):
    """The error of a task, and its pickled warnings."""

    serial: int
    error: PackedError
    warned: bytes | None


FromDriver = StartFit | SendShard | RunTask | SkipTask | Halt | DropShards | EndFit
FromWorker = Ready | Heartbeat | TaskProgress | TaskDone | TaskRaised
