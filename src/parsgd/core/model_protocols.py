"""Contract of a model: its state, its SGD runs, its gradients and its objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from parsgd.core.records import Rows, Totals

# Capabilities that a model may offer.  An engine must offer all others that an algorithm requires.
MODEL_OFFERS = frozenset({"shared_steps"})


class SGDRun(Protocol):
    """A run of many SGD steps on one state, in place.

    ``Model.sgd_run`` creates it and the worker loop drives it.  Between :meth:`run` and :meth:`finalize` the state may
    hold an internal form, such as weights with a separate scale.

    A run may also have a context manager ``shown()``.  Inside it the state is finalized; afterwards the run continues
    with the same bits as without it.  The worker loop uses it to score a state in the middle of a run.
    """

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Make the SGD steps for the examples ``order[start:stop]``.

        Called by the worker loop, several times per block of rows.

        Arguments
        ---------
        rows : Rows
            Rows in memory.
        order : ndarray of int, (n_visits,)
            Row numbers in the order of their visits.
        start, stop : int
            The slice of ``order`` to visit.  Except at the end of an epoch or budget it holds whole mini-batches.
        """

    def take_totals(self) -> Totals:
        """Return the sums since the previous call, and reset them.

        Called by the worker loop at the end of every epoch and at the end of the run.
        """

    def finalize(self) -> None:
        """Convert the state to plain parameters.

        Called by the worker loop at the end of the run, and before it changes a learning-rate scale.  A later
        :meth:`run` reads the scales again.
        """

    def mean_loss(self) -> float:
        """Return the mean loss of the examples since the last totals, each computed just before its step.

        Called by progress callbacks while a round runs.
        """

    @property
    def schedule_step(self) -> float:
        """Current step of the learning-rate schedule.  The worker loop copies it to the report."""


@runtime_checkable
class Model(Protocol):
    """A model: parameters in a flat state, an objective, and SGD steps on it.  Picklable.

    Attributes
    ----------
    n_outputs : int
        Number of outputs, each with a separate convergence decision and learning-rate scale.
    batch_size : int
        Examples per step.
    uses_blas : bool
        True if its kernels call the BLAS.  The loop then limits the BLAS to one thread per worker.
    is_linear : bool
        True if :meth:`decision` is linear in the state.  The model is then a :class:`LinearStateModel`.
    nonnegative : slice
        Part of the state with values that are never below 0 (second moments).  Merges with negative weights treat it
        separately.
    capabilities : frozenset of str
        Capabilities compared with ``Algorithm.requires``.  A model with ``"shared_steps"`` is a :class:`SharedModel`.
    unavailable : mapping of str to str
        Capabilities that the present parameters prevent.  Each value names the parameter and a remedy, and appears in
        the error message.
    """

    n_outputs: int
    batch_size: int
    uses_blas: bool
    is_linear: bool
    nonnegative: slice
    capabilities: frozenset[str]
    unavailable: Mapping[str, str]

    def init(self, seed: int) -> np.ndarray:
        """Return the initial state.

        Called by the driver once per fit, unless the caller passes a state.

        Arguments
        ---------
        seed : int
            Seed of random initial parameters.

        Returns
        -------
        ndarray, (size,)
            A new flat, contiguous state in the dtype of the model.
        """

    def sgd_run(
        self, state: np.ndarray, schedule_step: float, lr_scale: np.ndarray, seed: int, schedule_step_size: float = 1.0
    ) -> SGDRun:
        """Create a run of SGD steps on ``state``.

        Called by the worker loop, once per task.

        Arguments
        ---------
        state : ndarray, (size,)
            The array that the run modifies.
        schedule_step : float
            Step of the learning-rate schedule at the start, from 1.
        lr_scale : ndarray, (n_outputs,)
            Factors on the learning rate; 0 for an output that has converged.
        seed : int
            Seed of random operations inside a step (dropout).
        schedule_step_size : float
            Increase of the schedule step per SGD step.
        """

    def gradient_sum(
        self, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, schedule_step: float, seed: int
    ) -> tuple[np.ndarray, Totals]:
        """Sum the gradients of the loss over the examples ``batch[first:end]``.

        Called on workers by algorithms with ``message = "gradient"``.

        Arguments
        ---------
        state : ndarray, (size,)
            The state at which to differentiate.  It is not modified.
        rows : Rows
            Rows in memory.
        batch : ndarray of int
            Row numbers of a whole batch.
        first, end : int
            This worker's slice of the batch.
        schedule_step : float
            Step of the learning-rate schedule of this batch.
        seed : int
            Seed of random operations inside a step.

        Returns
        -------
        gradients : ndarray
            The summed gradients in the layout of the state, followed by one element: their summed weight.
        totals : Totals
            The contribution of these examples to the losses of the batch.
        """

    def apply_gradient(
        self, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
    ) -> np.ndarray:
        """Make one step along the summed gradients of a whole batch.

        Called on the driver by the merges of algorithms with ``message = "gradient"``.

        Arguments
        ---------
        state : ndarray, (size,)
            The state before the step.  It is not modified.
        slopes : ndarray
            The sum of the arrays that :meth:`gradient_sum` returned.
        schedule_step : float
            Step of the learning-rate schedule.
        lr_scale : ndarray, (n_outputs,)
            Factors on the learning rate.

        Returns
        -------
        ndarray, (size,)
            A new state.
        """

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the objective on all of ``rows``, summed over outputs, and its float64 gradient in the state.

        Called by the L-BFGS solver and by tests.
        """

    def max_lr_factor(self, schedule_step: float, n_workers: int) -> float:
        """Return the largest admissible factor on the serial learning rate for averaged workers.

        Called on the driver by adaptive outer optimizers before each round.

        Arguments
        ---------
        schedule_step : float
            Step of the learning-rate schedule.
        n_workers : int
            Number of workers in the average.

        Returns
        -------
        float
            A factor from 1 to ``n_workers``.
        """

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray:
        """Return the decision function, the argument of the loss.

        Called on the driver for the probe rows.

        Arguments
        ---------
        state : ndarray, (size,)
            A state.
        x : matrix, DenseRows or CsrRows
            Rows, as a matrix or as in ``Rows.x``.

        Returns
        -------
        ndarray, (n_rows, n_outputs)
        """

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the weighted mean loss of decisions and its gradient in them.

        Called on the driver for the probe rows.

        Arguments
        ---------
        decision : ndarray, (n_rows, n_outputs)
            Values of :meth:`decision`.
        rows : Rows
            Only the targets and weights are read.
        """

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float:
        """Return the penalty of the objective at ``state + part (end - state)``.

        Called on the driver where it compares objectives on probe rows.
        """

    def total_loss(self, losses: np.ndarray) -> float:
        """Combine the losses ``(n_outputs,)`` of the outputs into one number.

        Called for the history and for progress callbacks.
        """

    def log_contraction(self, schedule_step: float, steps: int) -> float:
        """Return the log of the factor by which ``steps`` steps contract the distance of two runs.

        Called on workers for their reports; WP-SGD derives merge weights from it.

        Arguments
        ---------
        schedule_step : float
            Step of the learning-rate schedule before the first step.
        steps : int
            Number of steps.

        Returns
        -------
        float
            At most 0; 0 if no bound is known.
        """

    def finite(self, state: np.ndarray) -> bool:
        """Return True if all parameters are finite.

        Called by the driver at the end of a fit, and before it passes a state to callbacks.
        """


@runtime_checkable
class SharedModel(Model, Protocol):
    """A model with runs that can step on one state at the same time.

    Its :meth:`sgd_run` takes the array ``shared_scalars`` as an additional last argument.

    Attributes
    ----------
    size : int
        Number of elements of a state.
    """

    size: int

    def shared_scalars(self, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
        """Return the float64 values that the runs share in addition to the state, such as scale and intercept.

        Called on the driver before each round.

        Arguments
        ---------
        state : ndarray, (size,)
            The state at the start of the round.
        schedule_step : float
            Step of the learning-rate schedule.
        n_workers : int
            Number of runs that share the state.
        """

    def from_shared(self, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
        """Return a new state in plain parameters from a shared state and its shared scalars.

        Called on the driver after all runs of a round have ended.
        """


class LinearStateModel(Model, Protocol):
    """A model with ``is_linear``: its decision function is linear in the state.

    Only the adaptive outer optimizer uses these members.

    Attributes
    ----------
    n_features : int
        Number of columns of the rows.
    """

    n_features: int

    def rates(self, clocks: np.ndarray) -> np.ndarray:
        """Return the learning rates at the given schedule steps, without learning-rate scales."""

    def scale_features(self, move: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return a displacement of the state with each feature's weights multiplied by ``factors (n_features,)``."""
