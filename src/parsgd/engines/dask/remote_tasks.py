"""Functions that run on Dask workers, and the form in which objects are sent to them."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from parsgd.core import Report, RunningLoss, Shard, Task, WorkFn
from parsgd.engines.remote_reports import aligned, packed
from parsgd.utils import blas_threads


class RemoteWork:
    """The work on a Dask worker; ``halted`` is set when the driver requests a stop."""

    def __init__(self, run: WorkFn):
        self.run = run
        self.halted = False

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Return False if the driver requested a stop: the progress callback of the tasks."""
        return not self.halted

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _unpacked, (RemoteWork, packed(self.run))


class RemoteShard:
    """A shard that exists on a Dask worker while the driver refers to it.

    Dask passes the same object to every task, so a shard keeps prefetched rows.  When the driver drops the reference or
    exits, Dask deletes the object, and the shard is closed.
    """

    def __init__(self, shard: Shard):
        self.shard = shard

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _unpacked, (_closing, packed(self.shard))


def _unpacked(wrap: Callable[[object], object], data: bytes) -> object:
    return wrap(pickle.loads(data))


def _closing(shard: Shard) -> RemoteShard:
    """Return a shard that is closed when Dask deletes it."""
    handle = RemoteShard(shard)
    weakref.finalize(handle, shard.close)
    return handle


def filled(handle: RemoteShard, values: Sequence[object]) -> RemoteShard:
    """Return the shard with its partitions, which Dask has brought to this worker."""
    return _closing(handle.shard.filled(values))


def descend(work: RemoteWork, handle: RemoteShard, task: Task, state: np.ndarray) -> Report:
    """Run one task on a state that was sent separately."""
    task = replace(task, state=aligned(state))
    with blas_threads.one_thread():
        return work.run(handle.shard, task, work.progress)


class DaskWorker(Protocol):
    """The part of a Dask worker that :func:`halt` uses."""

    @property
    def data(self) -> dict[str, object]: ...


def halt(keys: Sequence[str], dask_worker: DaskWorker) -> None:
    """Request the tasks that use the works ``keys`` to stop; runs in the worker's event loop."""
    for key in keys:
        work = dask_worker.data.get(key)
        if isinstance(work, RemoteWork):
            work.halted = True
