"""Base class of the linear estimators: parameter checks, the run, fitted attributes."""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils.validation import _check_sample_weight

from parsgd.errors import DivergedError, DivergenceWarning, InvalidArgumentError
from parsgd.estimators import auto_select, streaming
from parsgd.estimators.epochs import print_epochs
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.fitted.plain_state import PlainState
from parsgd.estimators.fitted.resume_attributes import AVERAGES, SQUARES
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.estimators.linear.own_loss import name_user_loss
from parsgd.estimators.sklearn_callbacks import FitTasks
from parsgd.estimators.to_sklearn import ToSklearn
from parsgd.estimators.training_data import Examples, InMemoryData, is_sparse
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.kernels import losses
from parsgd.models.linear.linear_model import SCHEDULES, Linear
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule
from parsgd.utils.callers import warn
from parsgd.viz.live import display_mode

if TYPE_CHECKING:
    from sklearn.utils import Tags

MAX_INT = np.iinfo(np.int32).max
# Factors over the loss of predicting 0 at which a warning and an error are issued: unscaled data at
# scikit-learn's default learning rates end near 1e26, where the clipped steps hold them.
_WARN_FACTOR, _ERROR_FACTOR, _SAMPLE_ROWS = 1e6, 1e29, 1000
# Larger coefficients stay in the memory of the state.
_COPIED_BYTES = 1 << 20


class BaseSGD(PlainState, ToSklearn, CallbackSupportMixin, SparseCoefMixin, BaseEstimator, metaclass=ABCMeta):
    """Parameters, run and attributes of every linear SGD estimator."""

    # the losses that it accepts, as in parsgd.kernels.losses
    _serves = ""
    _passive_loss = ""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- parameters ------------------------------------------------------------------------------------------------

    @param_validation.checked_once
    def _check_arguments(self, *partial: bool) -> None:
        self._check_parameters(*partial)

    def _check_parameters(self, partial: bool = False) -> None:
        """Raise for an invalid parameter, naming it, before any work starts."""
        param_validation.check_loss(self, losses.names(self._serves))
        param_validation.check_choice(self, "penalty", ("l2", "l1", "elasticnet", None))
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        for name in ("fit_intercept", "shuffle", "warm_start", "early_stopping"):
            param_validation.check_flag(self, name)
        param_validation.check_number(self, "alpha", 0)
        param_validation.check_number(self, "l1_ratio", 0, 1, closed="both", optional=True)
        param_validation.check_number(self, "max_iter", 1, whole=True)
        param_validation.check_number(self, "tol", 0, optional=True)
        param_validation.check_number(self, "eta0", 0, closed="neither")
        param_validation.check_number(self, "power_t", -np.inf, closed="neither")
        param_validation.check_number(self, "epsilon", 0)
        param_validation.check_number(self, "validation_fraction", 0, 1, closed="neither")
        param_validation.check_number(self, "n_iter_no_change", 1, whole=True)
        param_validation.check_number(self, "batch_size", 1, whole=True)
        param_validation.check_number(self, "n_jobs", -np.inf, whole=True, optional=True, closed="neither")
        param_validation.check_verbose(self)
        param_validation.check(
            self,
            "average",
            lambda v: isinstance(v, (bool, np.bool_)) or param_validation.is_integral(v) and v > 0,
            "an int in the range (0, inf) or a bool",
        )
        self._check_combinations(partial)
        checkpoint_context.check_checkpoint(self)

    def _check_combinations(self, partial: bool) -> None:
        if self.early_stopping and partial:
            raise InvalidArgumentError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise InvalidArgumentError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used to compute the optimal learning"
                " rate."
            )
        if self.learning_rate in ("pa1", "pa2") and self._described_loss.name != self._passive_loss:
            raise InvalidArgumentError(
                f"Learning rate '{self.learning_rate}' only works with loss '{self._passive_loss}'."
            )
        if self.learning_rate == "adagrad" and self.average:
            raise InvalidArgumentError(
                f"average={self.average!r} does not work with learning_rate='adagrad', which applies the penalty of a"
                " weight at its next use: a mean of iterates would miss it. Use average=False."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise InvalidArgumentError("l1_ratio must be set when penalty is 'elasticnet'")

    @property
    def _described_loss(self) -> losses.Loss:
        """Everything that is known about the loss."""
        return losses.describe(self.loss)

    def _loss_parameter(self) -> float:
        parameter = self._described_loss.parameter
        return float(getattr(self, parameter)) if isinstance(parameter, str) else parameter

    # -- the run ---------------------------------------------------------------------------------------------------

    def _linear(self, x: Any, n_outputs: int, **settings: Any) -> Linear:
        """Build the model from the parameters."""
        parameters = {
            "n_features": x.shape[1],
            "n_outputs": n_outputs,
            "dtype": str(x.dtype),
            "loss": self._described_loss.name if isinstance(self.loss, str) else self.loss,
            "loss_parameter": self._loss_parameter(),
            "penalty": self.penalty,
            "alpha": float(self.alpha),
            "l1_ratio": 0.0 if self.l1_ratio is None else float(self.l1_ratio),
            "schedule": self.learning_rate,
            "eta0": float(self.eta0),
            "power_t": float(self.power_t),
            "fit_intercept": bool(self.fit_intercept),
            "sparse": is_sparse(x),
            "average": int(self.average),
            "batch_size": int(self.batch_size),
            # stopping by tol needs the regularized objective; nothing else reads it
            "measured": self.tol is not None and not self.early_stopping,
        }
        return Linear(**{**parameters, **settings})

    def _run(
        self,
        model: Linear,
        examples: Examples,
        context: FitContext,
        *,
        seed: int,
        coef: np.ndarray | None,
        intercept: np.ndarray | None,
        monitor: Any = None,
        partial: bool = False,
        callback_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Fit ``model`` from ``coef (n_outputs, n_features)`` and ``intercept``, or from zeros; set the attributes.

        ``callback_arguments`` replaces the examples' own arguments of callbacks.
        """
        n_features, max_epochs = examples.shape[1], 1 if partial else int(self.max_iter)
        one_against_all = model.n_outputs > 1 and not model.described_loss.joint
        size = LinearSize(
            examples.n_rows, examples.n_values, n_features, model.n_outputs, model.sparse, one_against_all
        )
        choice, engine = context.choose_parts(size)
        if not partial:
            auto_select.warn_of_few_rows(self.n_jobs, choice, examples.n_rows)
        stopping = StoppingRule(
            tol=self.tol,
            patience=int(self.n_iter_no_change),
            adaptive_from=float(self.eta0) if self.learning_rate == "adaptive" else None,
            monitor=monitor,
            decides=bool(self.early_stopping),
        )
        tasks = FitTasks(
            self,
            examples.callback_arguments() if callback_arguments is None else callback_arguments,
            functools.partial(self._attributes, model, choice),
            name="partial_fit" if partial else "fit",
            epochs=0 if choice.algorithm.traits.one_shot else max_epochs,
        )
        with display_mode.shown(self.verbose), name_user_loss(model):
            fit = loop.fit(
                model,
                choice.algorithm,
                engine,
                examples.source(bool(self.shuffle)),
                n_workers=choice.n_workers,
                seed=seed,
                max_epochs=max_epochs,
                stopping=stopping,
                state=self._state(model, seed, coef, intercept),
                owns_state=True,
                schedule_step=self.t_,
                checkpointer=context.writer,
                epoch_callback=tasks.epoch_callback,
            )
        check_divergence(model, fit, examples)
        for name, value in self._attributes(model, choice, fit).items():
            setattr(self, name, value)
        print_epochs(self.verbose, fit, choice.algorithm.traits.one_shot, network=False)
        tasks.end()

    def _state(self, model: Linear, seed: int, coef: np.ndarray | None, intercept: np.ndarray | None) -> np.ndarray:
        """Build the start state of a fit."""
        state = model.init(seed)
        views = model.views(state)
        if coef is not None:
            views["coef"][:] = coef.reshape(model.n_outputs, -1).T
        if intercept is not None:
            views["intercept"][:] = intercept
        if model.average and getattr(self, "_average_coef", None) is not None:
            views["mean_coef"][:] = np.asarray(self._average_coef).reshape(model.n_outputs, -1).T
            views["mean_intercept"][:] = self._average_intercept
        if "squares" in views and getattr(self, "_squares", None) is not None:
            views["squares"][:] = self._squares.reshape(model.n_outputs, -1).T
            views["intercept_squares"][:] = self._intercept_squares
        return state

    def _attributes(self, model: Linear, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        """Return the fitted attributes. Once averaging has started, the averages are used for prediction."""
        record = {
            "t_": fit.schedule_step,
            "n_iter_": fit.n_epochs,
            "history_": fit.history,
            "outcome_": fit.outcome,
            "algorithm_": choice,
        }
        views = model.views(fit.state)
        coef, intercept = by_output(views["coef"]), views["intercept"].copy()
        if "squares" in views:
            record["_squares"] = by_output(views["squares"])
            record["_intercept_squares"] = views["intercept_squares"].copy()
        if not model.average:
            return record | self._coef_attributes(coef, intercept)
        means = by_output(views["mean_coef"]), views["mean_intercept"].copy()
        record |= {"_standard_coef": coef, "_standard_intercept": intercept}
        record |= {"_average_coef": means[0], "_average_intercept": means[1]}
        averaging = model.average <= fit.schedule_step - 1.0
        return record | self._coef_attributes(*(means if averaging else (coef, intercept)))

    def _coef_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> dict[str, np.ndarray]:
        """Map ``coef (n_outputs, n_features)`` and ``intercept (n_outputs,)`` to the estimator's attribute names."""
        return {"coef_": coef, "intercept_": intercept}

    def _clear(self, *names: str) -> None:
        for name in (*names, "merge_weights_", *AVERAGES, *SQUARES):
            if hasattr(self, name):
                delattr(self, name)

    def _examples(
        self, X: Any, y: Any, sample_weight: Any, reset: bool, supervised: bool = True, **settings: Any
    ) -> Examples:
        """Validate arrays, or wrap the rows of a Dataset."""
        if streaming.is_streamed(X):
            return streaming.streamed_data(self, X, y, sample_weight, reset, supervised)
        target = {"y": y} if supervised else {}
        checked = validate_data(
            self,
            X,
            **target,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            accept_large_sparse=True,
            reset=reset,
            **settings,
        )
        X, y = checked if supervised else (checked, None)
        if reset:
            streaming.delete_columns(self)
        return InMemoryData(X, np.zeros(X.shape[0]) if y is None else y, self._weights(sample_weight, X))

    def _weights(self, sample_weight: Any, x: Any) -> np.ndarray | None:
        """Return weights ``(n_rows,)`` in the dtype of the data, or None if every row has weight 1."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, x, dtype=x.dtype, allow_all_zero_weights=bool(self.early_stopping))

    def _warn_not_converged(self) -> None:
        if self.tol is not None and self.tol > -np.inf and self.n_iter_ == self.max_iter:
            warn(
                "Maximum number of iteration reached before convergence. Consider increasing max_iter to improve the"
                " fit.",
                ConvergenceWarning,
            )
        if self.power_t < 0:
            warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will raise an error in 1.10. "
                "Use values in the range [0.0, inf) instead.",
                FutureWarning,
            )


def by_output(weights: np.ndarray) -> np.ndarray:
    """Transpose ``weights (n_features, n_outputs)`` of a state that nothing else will change.

    The result is C-ordered, as in scikit-learn. Of several outputs over 1 MiB it is an F-ordered view, because a copy
    would double the memory of the fit.

    >>> by_output(np.zeros((4, 3))).flags.c_contiguous, by_output(np.zeros((100_000, 3))).flags.c_contiguous
    (True, False)
    """
    return weights.T if weights.nbytes > _COPIED_BYTES else np.ascontiguousarray(weights.T)


def check_divergence(model: Linear, fit: loop.Fit, examples: Examples) -> None:
    """Warn or raise if the loss exploded though every parameter is still finite.

    A loss whose gradient grows with the error diverges if the learning rate is too large. Gradients are clipped, as in
    scikit-learn, which keeps the parameters finite but not meaningful. scikit-learn gives no warning at its default
    rates. This function warns up to a loss of 1e29 times that of predicting 0 and raises DivergedError beyond it.
    """
    if not model.described_loss.gradient_grows or model.n_outputs > 1:
        return
    sample = examples.head(_SAMPLE_ROWS).astype(np.float64)
    zero_loss = float(model.losses(np.zeros((len(sample), 1)), sample)[0].mean())
    workers = fit.history[-1]["workers"]
    losses = [worker["trace"][-1][1] if worker["trace"] else worker["loss"] for worker in workers if worker["examples"]]
    final_loss = float(np.mean(losses)) if losses else 0.0
    if zero_loss == 0.0 or final_loss <= _WARN_FACTOR * zero_loss:
        return
    message = (
        f"SGD diverged: in round {fit.history[-1]['round']}, at epoch #{fit.n_epochs}, the mean loss is"
        f" {final_loss:.3g}, but {zero_loss:.3g} when all predictions are 0. Scaling input data with StandardScaler or"
        " MinMaxScaler might help, or a smaller eta0 (with learning_rate='optimal' a larger alpha)."
    )
    if final_loss > _ERROR_FACTOR * zero_loss:
        raise DivergedError(message)
    warn(message, DivergenceWarning)


def initial(given: Any, shape: tuple[int, ...], dtype: Any, name: str) -> np.ndarray | None:
    """Return the initial values passed as ``name`` in the right shape, or None."""
    if given is None:
        return None
    given = given.toarray() if sparse.issparse(given) else np.asarray(given)
    given = given.astype(dtype, copy=False)
    if given.size != int(np.prod(shape)) or (given.ndim == len(shape) and given.shape != shape):
        raise InvalidArgumentError(
            f"Provided {name} does not match dataset. Its shape is {given.shape}, the data needs {shape}."
        )
    return given.reshape(shape)
