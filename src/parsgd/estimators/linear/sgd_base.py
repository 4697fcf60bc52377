"""Base class of the linear estimators: the fit and the fitted attributes."""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import auto_select
from parsgd.estimators.epochs import print_epochs
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.fitted.transaction import forget
from parsgd.estimators.kinds import dense
from parsgd.estimators.linear.feature_statistics import MOMENTS, scaled
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.estimators.linear.linear_validation import BLOCK_UNIT, r2, validation_rows
from parsgd.estimators.linear.own_loss import name_user_loss
from parsgd.estimators.linear.sgd_params import SGDParams
from parsgd.estimators.linear.two_classes import is_one_row, set_rows
from parsgd.estimators.linear.uncertainty.uncertain_linear import UNCERTAINTY
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.training_data import Examples, is_sparse
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.divergence_check import check_final_loss
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.estimators.validation.random_states import draw_seed, skip_draws
from parsgd.models.linear.linear_model import SQUARES as LINEAR_SQUARES
from parsgd.models.linear.linear_model import Linear
from parsgd.models.row_blocks import rows_per_block
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.data.contracts import Pose
    from parsgd.estimators.validation.argument_types import MatrixLike

# Groups of attributes from which partial_fit continues; each is complete or missing.
AVERAGES = ("_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept")
SQUARES = ("_squares", "_intercept_squares")
SLOTS = (*AVERAGES, *SQUARES, *MOMENTS)
# Larger coefficients stay in the memory of the state.
_COPIED_BYTES = 1 << 20


class BaseSGD(SparseCoefMixin, SGDParams):
    """Run and attributes of every linear SGD estimator."""

    # name of the argument of fit that holds the intercept
    _intercept_argument = "intercept_init"
    # score of a state on held-out rows
    _score = staticmethod(r2)

    def _may_all_be_zero(self) -> bool:
        return bool(self.early_stopping)

    # -- fitting ---------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: ArrayLike | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            float32 stays float32; CSR indices may be 64 bits wide. A Dataset (:func:`parsgd.open_dataset`) is streamed.
        y : array-like of shape (n_rows,)
            Classes or, for a regression, numbers; for ``loss="poisson"`` values >= 0. Omit with a Dataset, which has
            its own targets and weights.
        coef_init, intercept_init : array-like, optional
            Initial values. For a classifier ``(n_classes, n_features)`` and ``(n_classes,)``, one row for two classes;
            for a regression ``(n_features,)`` and ``(1,)``.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional
            Validation set. ``history_`` records its score, accuracy or R^2; with ``early_stopping=True`` the score
            decides when to stop.
        resume : bool, default=False
            Resume from the last checkpoint in the folder ``checkpoint``; without one the fit starts. A script that is
            restarted after interruptions may always pass True.

        Returns
        -------
        self
        """
        return self._fit_anew(X, y, sample_weight, resume, coef_init, intercept_init, X_val, y_val)

    @with_callbacks
    def partial_fit(self, X: MatrixLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Make one pass of SGD over the given rows, starting from the current parameters.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,)
            Omit with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        self
        """
        self._check_arguments(True)
        examples = self._examples(X, y, sample_weight, reset=getattr(self, "coef_", None) is None)
        return self._fit_rows(examples, y, FitContext(self), partial=True)

    def _fit_anew(
        self, X: Any, y: Any, sample_weight: Any, resume: bool, coef_init: Any, intercept_init: Any, *validation: Any
    ) -> Self:
        """Fit without the state of earlier fits, except their parameters with ``warm_start``."""
        self._check_arguments()
        examples = self._examples(X, y, sample_weight, reset=True)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self._intercept if intercept_init is None else intercept_init
        forget(self, "coef_", "intercept_", "offset_", "classes_", "t_", "merge_weights_", *SLOTS)
        with checkpoint_context.checkpointed(self, resume) as context:
            self._learn_classes(examples)
            self._fit_rows(examples, y, context, coef_init, intercept_init, *validation)
        self._warn_not_converged()
        return self

    def _fit_rows(
        self,
        examples: Examples,
        y: Any,
        context: FitContext,
        coef_init: Any = None,
        intercept_init: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        partial: bool = False,
    ) -> Self:
        """Fit to examples; ``y`` are the targets as given, for callbacks of estimators that do not use them."""
        forget(self, *UNCERTAINTY)
        model, encoder = self._model_and_encoder(examples)
        examples = examples.encode_targets(encoder)
        coef, intercept = self._start(coef_init, intercept_init, model, examples)
        seed, examples, monitor = self._seed_and_split(model, examples, context, X_val, y_val)
        one_against_all = model.n_outputs > 1 and not model.described_loss.joint
        size = LinearSize(
            examples.n_rows,
            examples.n_values,
            model.n_features,
            model.n_outputs,
            model.sparse,
            one_against_all,
            adagrad=model.schedule in LINEAR_SQUARES,
            penalized=model.penalty is not None,
        )
        moments: dict[str, np.ndarray] = {}
        if model.schedule == "auto":
            is_number = not hasattr(self, "classes_") and model.described_loss.inverse_link is None
            model, found = scaled(model, examples, seed, is_number, vars(self))
            moments = found.attributes
            if intercept is None and is_number:
                intercept = np.full(model.n_outputs, found.target[0], examples.dtype)
        parts = self._choose_parts(context, size, partial)
        if parts[0].rate_factor != 1.0:
            model = replace(model, eta0=parts[0].rate_factor * model.eta0)
        stopping = StoppingRule(
            # one epoch decides nothing
            tol=None if partial else self.tol,
            patience=int(self.n_iter_no_change),
            adaptive_from=float(self.eta0) if self.learning_rate == "adaptive" else None,
            monitor=self._with_threads(monitor, *parts),
            decides=bool(self.early_stopping),
        )
        with name_user_loss(model):
            fit, tasks = self._train(
                model,
                examples,
                context,
                parts,
                lambda: self._state(model, seed, coef, intercept),
                stopping,
                seed=seed,
                schedule_step=getattr(self, "t_", 1.0),
                partial=partial,
                callback_arguments={"y": y} if self._target_checks is None else None,
            )
        if model.described_loss.gradient_grows and model.n_outputs == 1 and model.schedule != "auto":
            check_final_loss(
                fit,
                examples.head,
                lambda y: model.losses(np.zeros((len(y), 1)), y)[0],
                "a smaller eta0 (with learning_rate='optimal' a larger alpha)",
            )
        vars(self).update(self._attributes(model, parts[0], fit) | moments)
        print_epochs(self.verbose, fit, parts[0].algorithm.traits.one_shot, network=False)
        tasks.end()
        return self

    # -- differences between the estimators ----------------------------------------------------------------------------

    @abstractmethod
    def _model_and_encoder(self, examples: Examples) -> tuple[Linear, Pose]:
        """Build the model and the encoder of its targets."""

    def _learn_classes(self, examples: Examples) -> None:
        """Set ``classes_`` of a classifier."""
        return

    @property
    def _intercept(self) -> np.ndarray:
        """The intercept, from the attributes."""
        return self.intercept_

    def _coef_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> dict[str, np.ndarray]:
        """Map ``coef (n_outputs, n_features)`` and ``intercept (n_outputs,)`` to the estimator's attributes."""
        return {"coef_": coef.ravel(), "intercept_": intercept}

    def _coef_shape(self, model: Linear) -> tuple[int, ...]:
        return (model.n_features,)

    def _validation_targets(self, y: np.ndarray) -> np.ndarray:
        """Encode the user's validation targets for the scorer."""
        return y

    def _block_rows(self, row_values: float) -> int:
        n_outputs = 1 if self.coef_.ndim == 1 else self.coef_.shape[0]
        return rows_per_block(row_values + n_outputs, BLOCK_UNIT)

    def _products(self, X: Any) -> np.ndarray:
        """Compute ``X coef_^T`` for an array of rows."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        return safe_sparse_dot(X, self.coef_.T, dense_output=True)

    # -- model, start state and attributes -----------------------------------------------------------------------------

    def _linear(self, x: Any, n_outputs: int, **settings: Any) -> Linear:
        """Build the model from the parameters."""
        return Linear(
            n_features=x.shape[1],
            n_outputs=n_outputs,
            dtype=str(x.dtype),
            loss=self._described_loss.name if isinstance(self.loss, str) else self.loss,
            loss_parameter=self._loss_parameter(),
            penalty=self.penalty,
            alpha=float(self.alpha),
            l1_ratio=0.0 if self.l1_ratio is None else float(self.l1_ratio),
            schedule=self.learning_rate,
            eta0=float(self.eta0),
            power_t=float(self.power_t),
            fit_intercept=bool(self.fit_intercept),
            sparse=is_sparse(x),
            average=int(self.average),
            batch_size=int(self.batch_size),
            # stopping by tol needs the regularized objective; nothing else reads it
            measured=self.tol is not None and not self.early_stopping,
            **settings,
        )

    def _start(
        self, coef_init: Any, intercept_init: Any, model: Linear, examples: Examples
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return initial values: the given ones, those of an earlier fit (partial_fit), or None for zeros."""
        is_stored = getattr(self, "coef_", None) is not None
        if is_stored:
            averaging = bool(self.average) and "_standard_coef" in vars(self)
            coef_init = self._standard_coef if averaging else self.coef_
            intercept_init = self._standard_intercept if averaging else self._intercept
        # softmax of two classes has one row or two
        single = model.n_outputs == 2 and is_one_row(coef_init, model.n_features)
        shape = (1, model.n_features) if single else self._coef_shape(model)
        coef = initial(coef_init, shape, examples.dtype, "coef_init")
        single = model.n_outputs == 2 and is_one_row(intercept_init, 1)
        intercept = initial(
            intercept_init, (1 if single else model.n_outputs,), examples.dtype, self._intercept_argument
        )
        for values, name in ((coef, "coef_init"), (intercept, self._intercept_argument)):
            if not (is_stored or values is None or np.isfinite(values).all()):
                raise InvalidArgumentError(f"{name} contains NaN or infinity; pass finite values.")
        return coef, intercept

    def _seed_and_split(
        self, model: Linear, examples: Examples, context: FitContext, X_val: Any, y_val: Any
    ) -> tuple[int, Examples, Any]:
        """Return the seed, the training rows and the scorer of held-out rows, in the order of scikit-learn's draws."""
        before, after = self._other_draws(model)
        skip_draws(context.random_state, before)
        examples, monitor = self._validation(model, examples, context, X_val, y_val)
        seed = draw_seed(context.random_state, skipped=before)
        skip_draws(context.random_state, after)
        return seed if self.shuffle else 0, examples, monitor

    def _other_draws(self, model: Linear) -> tuple[int, int]:
        """Return how many numbers scikit-learn draws before and after the seed of the row order."""
        return 0, 0

    def _validation(
        self, model: Linear, examples: Examples, context: FitContext, X_val: Any, y_val: Any
    ) -> tuple[Examples, Any]:
        """Return the training examples and the scorer of the validation rows, held out or given."""
        param_validation.check_pair(X_val, y_val)
        if X_val is not None:
            X_val, y_val = self._read(X_val, y_val, reset=False, dtypes=[examples.dtype])
            return examples, functools.partial(self._score, model, X_val, self._validation_targets(y_val), None)
        if not self.early_stopping:
            return examples, None
        split = functools.partial(validation_rows, self, context.random_state)
        examples, held_out = examples.hold_out(split, self.validation_fraction, context.random_state)
        return examples, functools.partial(self._score, model, *held_out)

    def _state(self, model: Linear, seed: int, coef: np.ndarray | None, intercept: np.ndarray | None) -> np.ndarray:
        """Build the start state of a fit."""
        state = model.init(seed)
        views = model.views(state)
        if coef is not None:
            set_rows(views["coef"], coef)
        if intercept is not None:
            set_rows(views["intercept"].reshape(1, -1), intercept)
        if model.average and getattr(self, "_average_coef", None) is not None:
            set_rows(views["mean_coef"], np.asarray(self._average_coef))
            views["mean_intercept"][:] = self._average_intercept
        if "squares" in views and getattr(self, "_squares", None) is not None:
            views["squares"][:] = self._squares.reshape(model.n_outputs, -1).T
            views["intercept_squares"][:] = self._intercept_squares
        return state

    def _attributes(self, model: Linear, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        """Return the fitted attributes. Once averaging has started, the averages are used for prediction."""
        record = {"t_": fit.schedule_step, **super()._attributes(model, choice, fit)}
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


def by_output(weights: np.ndarray) -> np.ndarray:
    """Transpose ``weights (n_features, n_outputs)`` of a state that nothing else will change.

    The result is C-ordered, as in scikit-learn. Of several outputs over 1 MiB it is an F-ordered view, because a copy
    would double the memory of the fit.

    >>> by_output(np.zeros((4, 3))).flags.c_contiguous, by_output(np.zeros((100_000, 3))).flags.c_contiguous
    (True, False)
    """
    return weights.T if weights.nbytes > _COPIED_BYTES else np.ascontiguousarray(weights.T)


def initial(given: Any, shape: tuple[int, ...], dtype: Any, name: str) -> np.ndarray | None:
    """Return the initial values passed as ``name`` in the right shape, or None."""
    if given is None:
        return None
    given = dense(given).astype(dtype, copy=False)
    # one row may have any shape, as in scikit-learn
    single = given.size == max(shape)
    if given.size != int(np.prod(shape)) or (given.ndim == len(shape) and given.shape != shape and not single):
        raise InvalidArgumentError(
            f"Provided {name} does not match dataset. Its shape is {given.shape}, the data needs {shape}."
        )
    return given.reshape(shape)
