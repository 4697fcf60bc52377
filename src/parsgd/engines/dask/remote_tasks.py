"""Functions that run on Dask workers, and the form in which objects are sent to them."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np

from parsgd.core import Report, RunningLoss, Task
from parsgd.utils import blas_threads
from parsgd.utils.tree_reduce import partial_sum, weighted_sum


class RemoteHandle:
    """An object on a Dask worker, the work or a shard, which exists while the driver refers to it.

    Dask passes the same object to every task, so a shard keeps prefetched rows.  When the driver drops the reference or
    exits, Dask deletes the object, and it is closed.  ``halted`` is set when the driver requests a stop.
    """

    def __init__(self, value: Any):
        self.value = value
        self.halted = False

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Return False if the driver requested a stop: the progress callback of the tasks that use this object."""
        return not self.halted

    def __reduce__(self):
        # one bytes object: arrays sent as separate buffers might arrive unaligned
        return _unpacked, (cloudpickle.dumps(self.value, protocol=pickle.HIGHEST_PROTOCOL),)


def _unpacked(packet: bytes) -> RemoteHandle:
    handle = RemoteHandle(pickle.loads(packet))
    if hasattr(handle.value, "close"):
        weakref.finalize(handle, handle.value.close)
    return handle


def filled(shard: RemoteHandle, values: Sequence[Any]) -> RemoteHandle:
    """Return the shard with its partitions, which Dask has brought to this worker."""
    handle = RemoteHandle(shard.value.filled(values))
    weakref.finalize(handle, handle.value.close)
    return handle


def aligned(vector: np.ndarray) -> np.ndarray:
    """Return the vector, copied if its memory is not aligned; kernels require alignment."""
    return np.require(vector, requirements="A")


def descend(work: RemoteHandle, shard: RemoteHandle, task: Task, state: np.ndarray) -> Report:
    """Run one task on a state that was sent separately."""
    task = replace(task, state=aligned(state))
    with blas_threads.one_thread():
        return work.value(shard.value, task, work.progress)


def without_state(report: Report) -> tuple[Report, np.dtype, int]:
    """Return a report without its state, which remains on this worker, and the state's dtype and size."""
    return replace(report, state=np.empty(0)), report.state.dtype, report.state.size


def branch(vectors: Sequence[Report | np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the float64 sum of a group of vectors."""
    return partial_sum([_state(vector) for vector in vectors], weights)


def root(vectors: Sequence[Report | np.ndarray], weights: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the sum of the last few vectors, rounded to ``dtype``."""
    return weighted_sum([_state(vector) for vector in vectors], weights).astype(dtype, copy=False)


def _state(vector: Report | np.ndarray) -> np.ndarray:
    return aligned(vector.state if isinstance(vector, Report) else vector)


def halt(keys: Sequence[str], dask_worker: Any) -> None:
    """Request the tasks that use the objects ``keys`` to stop; runs in the worker's event loop."""
    for key in keys:
        if key in dask_worker.data:
            dask_worker.data[key].halted = True
