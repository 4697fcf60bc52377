"""What runs on a Dask worker, and the form in which things travel there."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np

from parsgd.core import Report, SGDRun, Task
from parsgd.utils import blas_threads
from parsgd.utils.tree_reduce import partial_sum, weighted_sum


class RemoteHandle:
    """A thing that lies on a Dask worker for as long as the driver holds on to it: the work, or a shard.

    Dask hands the same object to every task that asks for it, so a shard keeps what it has read ahead; and Dask drops
    it when the driver lets go or is gone, and then it is closed.  ``halted`` is the driver's order to stop.
    """

    def __init__(self, thing: Any):
        self.thing = thing
        self.halted = False

    def pulse(self, worker: int, examples: int, sgd_run: SGDRun) -> bool:
        """The pulse of the tasks that use it: whether to go on."""
        return not self.halted

    def __reduce__(self):
        # one sealed packet: arrays that travel as buffers of their own need not lie aligned where they arrive
        return _unpacked, (cloudpickle.dumps(self.thing, protocol=pickle.HIGHEST_PROTOCOL),)


def _unpacked(packet: bytes) -> RemoteHandle:
    held = RemoteHandle(pickle.loads(packet))
    if hasattr(held.thing, "close"):
        weakref.finalize(held, held.thing.close)
    return held


def filled(shard: RemoteHandle, values: Sequence[Any]) -> RemoteHandle:
    """The shard, with the partitions that it consists of, which Dask has brought here."""
    held = RemoteHandle(shard.thing.filled(values))
    weakref.finalize(held, held.thing.close)
    return held


def aligned(vector: np.ndarray) -> np.ndarray:
    """The vector, copied where it does not lie on a multiple of its numbers' size: kernels are compiled for such."""
    return np.require(vector, requirements="A")


def descend(work: RemoteHandle, shard: RemoteHandle, task: Task, state: np.ndarray) -> Report:
    """One task: ``task`` came without its state, which travels by itself."""
    task = replace(task, state=aligned(state))
    with blas_threads.one_thread():
        return work.thing(shard.thing, task, work.pulse)


def stripped(report: Report) -> tuple[Report, np.dtype, int]:
    """A report whose state stays where it is, and that state's dtype and size."""
    return replace(report, state=np.empty(0)), report.state.dtype, report.state.size


def branch(vectors: Sequence[Report | np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The sum of a group of neighbours, float64."""
    return partial_sum([_state(vector) for vector in vectors], weights)


def root(vectors: Sequence[Report | np.ndarray], weights: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The sum of so few vectors that they are no tree, rounded to ``dtype``."""
    return weighted_sum([_state(vector) for vector in vectors], weights).astype(dtype, copy=False)


def state_of(report: Report) -> np.ndarray:
    """The state of a report."""
    return report.state


def _state(vector: Report | np.ndarray) -> np.ndarray:
    return aligned(vector.state if isinstance(vector, Report) else vector)


def halt(keys: Sequence[str], dask_worker: Any) -> None:
    """Tell the tasks that use what lies here under ``keys`` to stop; runs beside them, in the worker's event loop."""
    for key in keys:
        if key in dask_worker.data:
            dask_worker.data[key].halted = True
