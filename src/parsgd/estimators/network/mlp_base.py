"""Base class of the network estimators: the fit."""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.estimators import auto_select, streaming
from parsgd.estimators.epochs import epochs_of, print_epochs
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.network import lbfgs
from parsgd.estimators.network.mlp_params import STOCHASTIC, is_stochastic
from parsgd.estimators.network.mlp_records import MLPRecords, layers_of, set_parameters
from parsgd.estimators.network.network_size import NetworkSize
from parsgd.estimators.network.network_validation import r2, split_rows
from parsgd.estimators.sklearn_callbacks import FitTasks, with_callbacks
from parsgd.estimators.training_data import Examples, StreamedData, is_sparse
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.estimators.validation.random_states import draw_seed, make_generator
from parsgd.models.network.forward import BLOCK_ROWS, propagate, work_per_row
from parsgd.models.network.network_model import Network
from parsgd.models.row_blocks import rows_per_block
from parsgd.training import loop
from parsgd.utils.callers import warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.data.contracts import Pose
    from parsgd.estimators.validation.argument_types import MatrixLike


class BaseMLP(MLPRecords):
    """Fits of both network estimators."""

    # score of a state on held-out rows
    _score = staticmethod(r2)

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
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
            float32 stays float32. A Dataset (:func:`parsgd.open_dataset`) is streamed.
        y : array-like of shape (n_rows,), (n_rows, n_labels) or (n_rows, n_outputs)
            Classes, or 0 and 1 for multilabel targets. For a regression numbers; for ``loss="poisson"`` values >= 0.
            Omit with a Dataset, which has its own targets and weights.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional
            Validation set. ``history_`` records its score, accuracy or R^2; with ``early_stopping=True`` the score
            decides when to stop.
        resume : bool, default=False
            Resume from the last checkpoint in the folder ``checkpoint``, if there is one.

        Returns
        -------
        self
        """
        self._check_arguments()
        self._check_validation_set(X_val, y_val, partial=False)
        warm = self.warm_start and "coefs_" in vars(self)
        examples = self._columns(X, y, sample_weight, reset=not warm)
        self._learn_classes(examples, warm)
        with checkpoint_context.checkpointed(self, resume) as context:
            self._fit_rows(examples, context, False, X_val, y_val)
        self._warn_not_converged()
        return self

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Make one pass over the given rows, from the current parameters and solver moments.

        ``early_stopping=True`` needs ``X_val`` and ``y_val``, on which every call is scored. After ``n_iter_no_change``
        calls without improvement the best weights are restored and ``outcome_`` is ``Outcome.CONVERGED``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Omit with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional

        Returns
        -------
        self
        """
        self._check_arguments()
        self._check_validation_set(X_val, y_val, partial=True)
        examples = self._columns(X, y, sample_weight, reset="coefs_" not in vars(self))
        self._fit_rows(examples, FitContext(self), True, X_val, y_val)
        return self

    # -- differences between classifier and regressor ----------------------------------------------------------------

    def _learn_classes(self, examples: Examples, warm: bool) -> None:
        """Set ``classes_`` of a classifier."""
        return

    @abstractmethod
    def _network_loss(self) -> dict[str, Any]:
        """Return ``loss`` and ``loss_parameter`` of the network."""

    @abstractmethod
    def _encoder(self, dtype: Any, examples: Examples | None = None) -> Pose:
        """Build the encoder of targets; with ``examples``, also of the weights of their classes."""

    @abstractmethod
    def _count_outputs(self, examples: Examples) -> int:
        """Return the number of outputs for encoded examples."""

    # -- the run -------------------------------------------------------------------------------------------------------

    def _columns(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> Examples:
        """Return examples, with the targets of a single output as one-dimensional array."""
        if streaming.is_streamed(X) and self.solver == "lbfgs":
            raise InvalidArgumentError(
                "solver='lbfgs' reads all rows at every step and needs arrays; for a Dataset use solver="
                f" {', '.join(map(repr, STOCHASTIC))}."
            )
        examples = self._examples(X, y, sample_weight, reset)
        return examples if isinstance(examples, StreamedData) else replace(examples, y=single_column(examples.y))

    def _fit_rows(self, examples: Examples, context: FitContext, partial: bool, X_val: Any, y_val: Any) -> None:
        dtype = examples.dtype
        examples = examples.encode_targets(self._encoder(dtype, examples))
        self.n_outputs_: int = self._count_outputs(examples)
        held_out = None
        if X_val is not None:
            X_val, y_val = self._read(X_val, y_val, reset=False)
            target = self._encoder(dtype)(single_column(y_val))[0]
            if target.ndim == 2 and target.shape[1] != self.n_outputs_:
                raise InvalidArgumentError(f"y_val has {target.shape[1]} targets per row, y has {self.n_outputs_}.")
            held_out = (X_val.astype(dtype, copy=False), target, None)
        self._fit_network(examples, context, partial, held_out)

    def _fit_network(self, examples: Examples, context: FitContext, partial: bool, held_out: tuple | None) -> None:
        """Fit to the examples; ``held_out`` is the user's validation set in the kernels' format."""
        first = "coefs_" not in vars(self) or not (self.warm_start or partial)
        random = make_generator(context.random_state)
        layers = (examples.shape[1], *self._hidden_layers(), self.n_outputs_)
        plain = self._network(examples, layers, 1)
        # a list, so that the fit can take the start state out and no second reference keeps it in memory
        states = [plain.draw(random) if first else self._resumed(plain, partial)]
        if first:
            self._clear()
        if self.solver == "lbfgs":
            self._fit_lbfgs(plain, examples, states.pop())
            return
        if self.early_stopping and held_out is None:
            if self.validation_fraction == 0:
                raise InvalidArgumentError("early_stopping=True needs validation_fraction > 0, or X_val and y_val.")
            split = functools.partial(split_rows, self, random)
            examples, held_out = examples.hold_out(split, self.validation_fraction, random)
        n_rows = examples.n_rows
        batch = min(200, n_rows) if self.batch_size == "auto" else int(self.batch_size)
        if batch > n_rows:
            warn(f"batch_size={batch} is larger than the {n_rows} training rows; every batch holds all of them.")
            batch = n_rows
        size = NetworkSize(n_rows, examples.n_values, layers, batch, plain.n_slots, plain.sparse)
        parts = choice, _ = self._choose_parts(context, size, partial)
        if not partial:
            self._clear_stopping_rule()
        rows_per_worker = -(-n_rows // choice.n_workers)
        # batches are within one worker's rows, unless all workers visit the rows in a common order
        max_batch = n_rows if choice.algorithm.traits.partition == "common_order" else rows_per_worker
        if choice.algorithm.traits.message == "gradient":
            rows_per_worker = n_rows
            # the schedule counts the algorithm's batches
            batch = choice.algorithm.rows_per_step(self._network(examples, layers, batch))
        batch = min(batch, max_batch)
        steps = -(-rows_per_worker // batch)
        if choice.algorithm.traits.message == "state" and choice.algorithm.traits.common_schedule_step:
            # with a common schedule step, a decaying rate counts the steps of all workers
            steps *= choice.n_workers
        schedule_step = getattr(self, "_clock", 1.0) if partial else 1.0
        model = self._network(examples, layers, batch, n_rows, steps, schedule_step)
        seed = draw_seed(random) if self.shuffle or self.dropout > 0 else 0
        monitor = None if held_out is None else functools.partial(self._score, model, *held_out)
        monitor = self._with_threads(monitor, *parts)
        fit, tasks = self._train(
            model,
            examples,
            context,
            parts,
            states.pop,
            self._stopping(monitor, partial),
            seed=seed,
            schedule_step=schedule_step,
            partial=partial,
        )
        self._check_loss(model, examples, fit)
        vars(self).update(self._attributes(model, choice, fit))
        self._clock = fit.schedule_step
        self.t_ += fit.examples
        self._extend_curves(fit)
        print_epochs(self.verbose, fit, choice.algorithm.traits.one_shot, network=True)
        if partial:
            self._update_rule(model, fit.state, monitor)
        tasks.end()

    def _check_loss(self, model: Network, examples: Examples, fit: loop.Fit) -> None:
        """Warn or raise if the loss of a regression exploded."""
        return

    def _attributes(self, model: Network, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        losses, _ = epochs_of(fit, choice.algorithm.traits.one_shot)
        record = super()._attributes(model, choice, fit)
        return record | {"loss_": losses[-1], **self._weights_of(model, fit.state)}

    def _fit_lbfgs(self, model: Network, examples: Examples, state: np.ndarray) -> None:
        """Fit with ``solver="lbfgs"``."""

        def attributes(result: lbfgs.LbfgsResult) -> dict[str, Any]:
            record = {"loss_": result.loss, "n_iter_": result.n_iter, "outcome_": result.outcome}
            return record | self._weights_of(model, result.state)

        tasks = FitTasks(
            self, examples.callback_arguments(), attributes, epochs=int(self.max_iter), epoch_name="lbfgs-iter"
        )
        result = lbfgs.minimize(
            model,
            examples.rows(),
            state,
            max_iter=int(self.max_iter),
            max_fun=int(self.max_fun),
            tol=float(self.tol),
            verbose=self.verbose,
            epoch_callback=tasks.epoch_callback,
        )
        vars(self).update(attributes(result))
        tasks.end()

    def _network(
        self, X: Any, layers: tuple[int, ...], batch: int, n_rows: int = 1, steps: int = 1, schedule_step: float = 1.0
    ) -> Network:
        """Build the model from the parameters."""
        solver = self.solver
        if solver == "sgd" and self.momentum > 0:
            solver = "nesterov" if self.nesterovs_momentum else "momentum"
        # Adam ignores schedules, as in scikit-learn
        schedule = self.learning_rate if self.solver == "sgd" else "constant"
        return Network(
            sizes=layers,
            dtype=str(X.dtype),
            activation=self.activation,
            **self._network_loss(),
            solver="sgd" if solver == "lbfgs" else solver,
            alpha=float(self.alpha),
            schedule=schedule,
            eta0=float(self.learning_rate_init) * float(getattr(self, "_gains", [1.0])[0]),
            power_t=float(self.power_t),
            momentum=float(self.momentum),
            beta_1=float(self.beta_1),
            beta_2=float(self.beta_2),
            epsilon=float(self.epsilon),
            clip_norm=None if self.clip_norm is None else float(self.clip_norm),
            dropout=float(self.dropout),
            start=self.weight_init,
            batch_size=batch,
            sparse=is_sparse(X),
            seen=float(getattr(self, "t_", 0)),
            rows_per_epoch=float(n_rows),
            steps_per_epoch=float(steps),
            begun=schedule_step,
        )

    def _resumed(self, model: Network, partial: bool) -> np.ndarray:
        """Build the start state from the fitted parameters and, with ``partial_fit``, the solver's slots."""
        if [coef.shape for coef in self.coefs_] != list(pairwise(model.sizes)):
            raise InvalidArgumentError(
                f"This {type(self).__name__} has layers {list(layers_of(self))}; parameters and data"
                f" now need {list(model.sizes)}. To start again call fit with warm_start=False."
            )
        state = np.zeros(model.n_parameters * (1 + model.n_slots), dtype=model.dtype)
        set_parameters(model, state, [*self.coefs_, *self.intercepts_])
        slots = getattr(self, "_slots", None)
        if partial and slots is not None and len(slots) == len(state) - model.n_parameters:
            state[model.n_parameters :] = slots
        elif partial:
            self._clock = 1.0
        return state

    def _block_rows(self, row_values: float) -> int:
        return rows_per_block(row_values + work_per_row(self.coefs_), BLOCK_ROWS)

    def _predicted(self, X: Any) -> np.ndarray:
        """Compute predictions ``(n_rows, n_outputs)``: probabilities, or means."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return propagate(X, self.coefs_, self.intercepts_, self.activation, self._network_loss()["loss"])

    def _warn_not_converged(self) -> None:
        if self.outcome_ is Outcome.MAX_EPOCHS and self.solver != "lbfgs":
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't"
                " converged yet.",
                ConvergenceWarning,
            )


def single_column(y: Any) -> np.ndarray:
    """Return targets as a dense array, one-dimensional for a single output."""
    y = y.toarray() if sparse.issparse(y) else y
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
