"""Contracts of models with a state besides their parameters: of each worker, or of the driver's optimizer."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from parsgd.core.model_protocols import GradientModel, Model
from parsgd.core.records import Task
from parsgd.core.sgd_run import SGDRun


class WorkerStateRun(SGDRun, Protocol):
    """A run that continues from the state of its worker."""

    def worker_state(self) -> Any:
        """Return the state of the worker after the run, in arrays, numbers, texts and containers of these.

        Called by the worker loop after :meth:`SGDRun.finalize`, if the task asks for it.
        """
        ...


@runtime_checkable
class WorkerStateModel(Model, Protocol):
    """A model with the capability ``"worker_state"``: every worker keeps a state between its tasks.

    This state is not merged.  Examples are the moments of an optimizer, its schedule, and random number generators.
    The state stays in the memory of the worker.  A worker that takes over the rows of a lost one starts with a new
    state, unless its task has one.
    """

    def worker_run(self, state: np.ndarray, task: Task, lr_scale: np.ndarray) -> WorkerStateRun:
        """Create a run as :meth:`Model.sgd_run` does, which continues from the state of the worker ``task.worker``.

        Called by the worker loop, once per task.

        Arguments
        ---------
        state : ndarray, (size,)
            The array for the final state, of any content; the run starts from ``task.state``.
        task : Task
            The worker continues from the state that it kept after the task of round ``task.last_round``.  If it has
            none of that round, it continues from ``task.worker_state``, or starts anew if that is None.
        lr_scale : ndarray, (n_outputs,)
            Factors on the learning rate.
        """
        ...


@runtime_checkable
class OptimizerStateModel(GradientModel, Protocol):
    """A model with the capability ``"optimizer_state"``: the state of its optimizer is outside of the model's state."""

    def optimizer_step(
        self,
        state: np.ndarray,
        gradients: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        optimizer_state: Any,
        ends_epoch: bool,
    ) -> tuple[np.ndarray, Any]:
        """Make one step along the summed gradients of a whole batch, as :meth:`GradientModel.apply_gradient` does.

        Called on the driver by the merges of algorithms with ``message = "gradient"``.

        Arguments
        ---------
        optimizer_state : object
            The state of the optimizer after the last step; None before the first.
        ends_epoch : bool
            True if the batch is the last one of an epoch of all workers.

        Returns
        -------
        state : ndarray, (size,)
            A new state.
        optimizer_state : object
            The state of the optimizer, in arrays, numbers, texts and containers of these.
        """
        ...


def has_worker_state(model: Model) -> TypeGuard[WorkerStateModel]:
    """Return True if the model offers ``"worker_state"``."""
    return "worker_state" in model.capabilities


def has_optimizer_state(model: Model) -> TypeGuard[OptimizerStateModel]:
    """Return True if the model offers ``"optimizer_state"``."""
    return "optimizer_state" in model.capabilities
