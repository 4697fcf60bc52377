"""Contracts of a model: a core for every algorithm, and members that only some algorithms need.

:class:`Model` is the core: states, SGD runs and the combination of losses.  A model states in ``capabilities`` which of
the other contracts it has, and an algorithm states in its traits which it requires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np

from parsgd.core.records import CsrRows, DenseRows, Rows, Totals
from parsgd.core.sgd_run import SGDRun

# Capabilities of a model and the contract of each.  An engine must offer all others that an algorithm requires.
# gradients: GradientModel;  averaging: AveragingModel;  linear_state: LinearStateModel;  shared_steps: SharedModel;
# full_gradient: FullGradientModel;  features: FeatureModel;  compiled_rounds: CompiledRoundsModel;
# compiled_gradients: CompiledGradientsModel;  worker_state: WorkerStateModel;  optimizer_state: OptimizerStateModel.
MODEL_CAPABILITIES = frozenset(
    {"gradients", "averaging", "linear_state", "shared_steps", "full_gradient", "features"}
    | {"compiled_rounds", "compiled_gradients", "worker_state", "optimizer_state"}
)


@runtime_checkable
class Model(Protocol):
    """A model: parameters in a flat state, and SGD steps that decrease an objective.  Picklable.

    Every algorithm may use these members.  :class:`~parsgd.core.PlainModel` has defaults for most of them.

    Attributes
    ----------
    n_outputs : int
        Number of outputs, each with a separate convergence decision and learning-rate scale.
    batch_size : int
        Examples per step.
    uses_blas : bool
        True if its kernels call the BLAS.  The loop then limits the BLAS to one thread per worker.
    nonnegative : slice
        Part of the state with values that are never below 0 (second moments).  Merges with negative weights treat it
        separately.
    divergence : str
        Message of the error for non-finite parameters, with the fields ``{epoch}`` and ``{what}``.  If empty, the
        error has its default message.
    capabilities : frozenset of str
        Further contracts of the model, members of ``parsgd.core.MODEL_CAPABILITIES``: ``"gradients"``
        (:class:`GradientModel`), ``"averaging"`` (:class:`AveragingModel`), ``"linear_state"``
        (:class:`LinearStateModel`), ``"shared_steps"`` (:class:`SharedModel`), ``"full_gradient"``
        (:class:`FullGradientModel`), ``"features"`` (:class:`FeatureModel`), ``"compiled_rounds"``
        (:class:`CompiledRoundsModel`), ``"compiled_gradients"`` (:class:`CompiledGradientsModel`), ``"worker_state"``
        (:class:`WorkerStateModel`) and ``"optimizer_state"`` (:class:`OptimizerStateModel`).
    unavailable : mapping of str to str
        Capabilities that the present parameters prevent.  Each value names the parameter and a remedy, and appears in
        the error message.
    """

    @property
    def n_outputs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def uses_blas(self) -> bool: ...

    @property
    def nonnegative(self) -> slice: ...

    @property
    def divergence(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def unavailable(self) -> Mapping[str, str]: ...

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
        ...

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
        ...

    def finite(self, state: np.ndarray) -> bool:
        """Return True if all parameters are finite.

        Called by the driver at the end of a fit, and before it passes a state to callbacks.
        """
        ...

    def total_loss(self, losses: np.ndarray) -> float:
        """Combine the losses ``(n_outputs,)`` of the outputs into one number.

        Called for the history and for progress callbacks.
        """
        ...


@runtime_checkable
class GradientModel(Model, Protocol):
    """A model with the capability ``"gradients"``: gradients of parts of a batch, and a step along their sum."""

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
        ...

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
        ...


@runtime_checkable
class AveragingModel(Model, Protocol):
    """A model with the capability ``"averaging"``: losses of merged states on probe rows, and bounds on its steps.

    Learned merge weights, adaptive outer steps and WP-SGD's weights use these members.
    """

    def decision(self, state: np.ndarray, x: DenseRows | CsrRows) -> np.ndarray:
        """Return the decision function, the argument of the loss.

        Called on the driver for the probe rows.

        Arguments
        ---------
        state : ndarray, (size,)
            A state.
        x : DenseRows or CsrRows
            Rows, as in ``Rows.x``.

        Returns
        -------
        ndarray, (n_rows, n_outputs)
        """
        ...

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
        ...

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float:
        """Return the penalty of the objective at ``state + part (end - state)``.

        Called on the driver where it compares objectives on probe rows.
        """
        ...

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
        ...

    def log_contraction(self, schedule_step: float, steps: float) -> float:
        """Return the log of the factor by which ``steps`` steps contract the distance of two runs.

        Called on workers for their reports; WP-SGD derives merge weights from it.

        Arguments
        ---------
        schedule_step : float
            Step of the learning-rate schedule before the first step.
        steps : float
            Number of steps, in units of the schedule.

        Returns
        -------
        float
            At most 0; 0 if no bound is known.
        """
        ...


@runtime_checkable
class LinearStateModel(AveragingModel, Protocol):
    """A model with the capability ``"linear_state"``: its decision function is linear in the state.

    It also offers ``"averaging"``.  Only the adaptive outer optimizer uses these members.

    Attributes
    ----------
    n_features : int
        Number of columns of the rows.
    """

    @property
    def n_features(self) -> int: ...

    def rates(self, clocks: np.ndarray) -> np.ndarray:
        """Return the learning rates at the given schedule steps, without learning-rate scales."""
        ...

    def scale_features(self, move: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return a displacement of the state with each feature's weights multiplied by ``factors (n_features,)``."""
        ...


@runtime_checkable
class SharedModel(Model, Protocol):
    """A model with the capability ``"shared_steps"``: several runs may step on one state at the same time.

    Attributes
    ----------
    size : int
        Number of elements of a state.
    """

    @property
    def size(self) -> int: ...

    def sgd_run(
        self,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float = 1.0,
        shared_scalars: np.ndarray | None = None,
    ) -> SGDRun:
        """Create a run as :meth:`Model.sgd_run` does.

        With ``shared_scalars``, the array that the method of this name returned, other runs update the same state at
        the same time.
        """
        ...

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
        ...

    def from_shared(self, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
        """Return a new state in plain parameters from a shared state and its shared scalars.

        Called on the driver after all runs of a round have ended.
        """
        ...


@runtime_checkable
class FullGradientModel(Model, Protocol):
    """A model with the capability ``"full_gradient"``, for solvers such as L-BFGS."""

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the objective on all of ``rows``, summed over outputs, and its float64 gradient in the state.

        Called by the L-BFGS solver and by tests.
        """
        ...


def has_gradients(model: Model) -> TypeGuard[GradientModel]:
    """Return True if the model offers ``"gradients"``.

    >>> from parsgd.models.linear.linear_model import Linear
    >>> has_gradients(Linear(3))
    True
    """
    return "gradients" in model.capabilities


def has_averaging(model: Model) -> TypeGuard[AveragingModel]:
    """Return True if the model offers ``"averaging"``."""
    return "averaging" in model.capabilities


def has_linear_state(model: Model) -> TypeGuard[LinearStateModel]:
    """Return True if the model offers ``"linear_state"``."""
    return "linear_state" in model.capabilities


def has_full_gradient(model: Model) -> TypeGuard[FullGradientModel]:
    """Return True if the model offers ``"full_gradient"``."""
    return "full_gradient" in model.capabilities


def has_shared_steps(model: Model) -> TypeGuard[SharedModel]:
    """Return True if the model offers ``"shared_steps"``."""
    return "shared_steps" in model.capabilities
