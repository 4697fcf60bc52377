"""Functions that run on Dask workers, and the form in which objects are sent to them."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  (it has no stubs)
import numpy as np

from parsgd.core import Report, RunningLoss, Shard, Task, WorkFn
from parsgd.utils import blas_threads
from parsgd.utils.tree_reduce import partial_sum, weighted_sum


class RemoteWork:
    """The work on a Dask worker; ``halted`` is set when the driver requests a stop."""

    def __init__(self, run: WorkFn):
        self.run = run
        self.halted = False

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Return False if the driver requested a stop: the progress callback of the tasks."""
        return not self.halted

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _unpacked, (RemoteWork, _packed(self.run))


class RemoteShard:
    """A shard that exists on a Dask worker while the driver refers to it.

    Dask passes the same object to every task, so a shard keeps prefetched rows.  When the driver drops the reference or
    exits, Dask deletes the object, and the shard is closed.
    """

    def __init__(self, shard: Shard):
        self.shard = shard

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _unpacked, (_closing, _packed(self.shard))


def _packed(value: object) -> bytes:
    """Pickle an object as one bytes object: arrays sent as separate buffers might arrive unaligned."""
    return cast("Callable[..., bytes]", cloudpickle.dumps)(value, protocol=pickle.HIGHEST_PROTOCOL)


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


def aligned(vector: np.ndarray) -> np.ndarray:
    """Return the vector, copied if its memory is not aligned; kernels require alignment."""
    return np.require(vector, requirements="A")


def descend(work: RemoteWork, handle: RemoteShard, task: Task, state: np.ndarray) -> Report:
    """Run one task on a state that was sent separately."""
    task = replace(task, state=aligned(state))
    with blas_threads.one_thread():
        return work.run(handle.shard, task, work.progress)


def aligned_report(report: Report) -> Report:
    """Return the report with arrays that kernels can read."""
    sparse = report.sparse_state
    if sparse is not None:
        values = tuple(aligned(part) for part in sparse.values)
        features, visits, rest = (aligned(array) for array in (sparse.features, sparse.visits, sparse.rest))
        sparse = sparse._replace(features=features, visits=visits, values=values, rest=rest)
    visits = None if report.visits is None else aligned(report.visits)
    return replace(report, state=aligned(report.state), visits=visits, sparse_state=sparse)


def without_state(report: Report) -> tuple[Report, np.dtype, int]:
    """Return a report without its state, which remains on this worker, and the state's dtype and size.

    A sparse state is small and remains in the report.
    """
    return replace(report, state=np.empty(0)), report.state.dtype, report.state.size


def branch(vectors: Sequence[Report | np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the float64 sum of a group of vectors."""
    return partial_sum([_state(vector) for vector in vectors], weights)


def root(vectors: Sequence[Report | np.ndarray], weights: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the sum of the last few vectors, rounded to ``dtype``."""
    return weighted_sum([_state(vector) for vector in vectors], weights).astype(dtype, copy=False)


def _state(vector: Report | np.ndarray) -> np.ndarray:
    return aligned(vector.state if isinstance(vector, Report) else vector)


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
