"""Base class of the network estimators: the run and the fitted attributes."""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.estimators import auto_select, streaming
from parsgd.estimators.epochs import epochs_of, idle_epochs, print_epochs
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.fitted.plain_state import PlainState
from parsgd.estimators.linear.sgd_base import MAX_INT
from parsgd.estimators.network import lbfgs
from parsgd.estimators.network.mlp_params import STOCHASTIC, MLPParams
from parsgd.estimators.network.network_size import NetworkSize
from parsgd.estimators.network.network_validation import split_rows
from parsgd.estimators.sklearn_callbacks import FitTasks
from parsgd.estimators.to_sklearn import ToSklearn
from parsgd.estimators.training_data import Examples, InMemoryData, is_sparse
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.models.network.forward import LOSSES, propagate
from parsgd.models.network.network_model import Network
from parsgd.training import loop
from parsgd.training.reporting.history import History
from parsgd.training.stopping import StoppingRule
from parsgd.utils.callers import warn
from parsgd.viz.live import display_mode

if TYPE_CHECKING:
    from sklearn.utils import Tags


class BaseMLP(PlainState, ToSklearn, CallbackSupportMixin, MLPParams, metaclass=ABCMeta):
    """Run and attributes of both network estimators."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- differences between classifier and regressor ----------------------------------------------------------------

    @abstractmethod
    def _network_loss(self) -> dict[str, Any]:
        """Return ``loss`` and ``loss_parameter`` of the network."""

    @abstractmethod
    def _monitor(self, model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
        """Return the scorer of a state on held-out rows."""

    # -- the run ---------------------------------------------------------------------------------------------------

    def _fit_network(
        self,
        examples: Examples,
        context: FitContext,
        partial: bool,
        held_out: tuple | None,
        stratify: bool,
    ) -> None:
        """Fit to the examples; ``held_out`` is the user's validation set in the kernels' format."""
        first = not hasattr(self, "coefs_") or not (self.warm_start or partial)
        random = check_random_state(context.random_state)
        layers = (examples.shape[1], *self._hidden_layers(), self.n_outputs_)
        plain = self._network(examples, layers, 1)
        # a list, so that the fit can take the start state out and no second reference keeps it in memory
        states = [plain.draw(random) if first else self._resumed(plain, partial)]
        if self.solver == "lbfgs":
            if first:
                self._clear()
            self._fit_lbfgs(plain, examples, states.pop())
            return
        if self.early_stopping and held_out is None:
            examples, held_out = self._hold_out(examples, random, stratify)
        n_rows = examples.n_rows
        batch = min(200, n_rows) if self.batch_size == "auto" else int(self.batch_size)
        if batch > n_rows:
            warn(
                f"batch_size={batch} is larger than the {n_rows} training rows; every batch holds all of them.",
            )
            batch = n_rows
        size = NetworkSize(n_rows, examples.n_values, layers, batch, plain.n_slots, plain.sparse)
        choice, engine = context.choose_parts(size)
        if not partial:
            auto_select.warn_of_few_rows(self.n_jobs, choice, n_rows)
        # all checks have passed; only now may the old model be cleared
        if first:
            self._clear()
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
        seed = int(random.randint(0, MAX_INT)) if self.shuffle or self.dropout > 0 else 0
        monitor = None if held_out is None else self._monitor(model, *held_out)
        max_epochs = 1 if partial else int(self.max_iter)
        tasks = FitTasks(
            self,
            examples.callback_arguments(),
            functools.partial(self._attributes, model, choice),
            name="partial_fit" if partial else "fit",
            epochs=0 if choice.algorithm.traits.one_shot else max_epochs,
        )
        with display_mode.shown(self.verbose):
            fit = loop.fit(
                model,
                choice.algorithm,
                engine,
                examples.source(bool(self.shuffle)),
                n_workers=choice.n_workers,
                seed=seed,
                max_epochs=max_epochs,
                stopping=self._stopping(monitor, partial),
                state=states.pop(),
                owns_state=True,
                schedule_step=schedule_step,
                checkpointer=context.writer,
                epoch_callback=tasks.epoch_callback,
            )
        self.history_: History = fit.history
        self.outcome_ = fit.outcome
        self.algorithm_: auto_select.Choice = choice
        self._clock = fit.schedule_step
        self.t_ += fit.examples
        self.n_iter_: int = fit.n_epochs
        self._set_weights(model, fit.state)
        self._extend_curves(fit)
        print_epochs(self.verbose, fit, choice.algorithm.traits.one_shot, network=True)
        if partial and self.early_stopping:
            self._update_early_stopping(model, fit.state, monitor)
        elif partial:
            self._update_adaptive_rate(fit)
        tasks.end()

    def _attributes(self, model: Network, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        """Return the fitted attributes that callbacks get during a fit."""
        losses, _ = epochs_of(fit, choice.algorithm.traits.one_shot)
        record = {
            "n_iter_": fit.n_epochs,
            "history_": fit.history,
            "outcome_": fit.outcome,
            "algorithm_": choice,
            "loss_": losses[-1],
        }
        return record | self._weights_of(model, fit.state)

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
        self.loss_: float = result.loss
        self.n_iter_ = result.n_iter
        self.outcome_ = result.outcome
        self._set_weights(model, result.state)
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

    def _stopping(self, monitor: Any, partial: bool) -> StoppingRule:
        """Build the stopping rule; scikit-learn's networks wait one epoch longer than its linear models."""
        return StoppingRule(
            tol=None if partial else float(self.tol),
            patience=self.n_iter_no_change + 1,
            adaptive_from=self._adaptive_from(),
            monitor=None if partial else monitor,
            decides=bool(self.early_stopping),
            keeps_best=bool(self.early_stopping),
        )

    def _adaptive_from(self) -> float | None:
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        return float(self.learning_rate_init) if adaptive else None

    def _hold_out(self, examples: Examples, random, stratify: bool) -> tuple[Examples, tuple]:
        """Split into training examples and held-out rows, stratified by class if ``stratify``."""
        if self.validation_fraction == 0:
            raise InvalidArgumentError("early_stopping=True needs validation_fraction > 0, or X_val and y_val.")
        split = functools.partial(split_rows, self, random, stratify)
        return examples.hold_out(split, self.validation_fraction, random)

    def _resumed(self, model: Network, partial: bool) -> np.ndarray:
        """Build the start state from the fitted parameters and, with ``partial_fit``, the solver's slots."""
        shapes = [coef.shape for coef in self.coefs_]
        expected = list(zip(model.sizes[:-1], model.sizes[1:], strict=True))
        if shapes != expected:
            raise InvalidArgumentError(
                f"This {type(self).__name__} has layers {[*(s[0] for s in shapes), shapes[-1][1]]}; parameters and data"
                f" now need {list(model.sizes)}. To start again call fit with warm_start=False."
            )
        state = np.zeros(model.n_parameters * (1 + model.n_slots), dtype=model.dtype)
        views = model.views(state)
        for view, coef in zip(views["coefs"], self.coefs_, strict=True):
            view[:] = coef
        for view, intercept in zip(views["intercepts"], self.intercepts_, strict=True):
            view[:] = intercept
        slots = getattr(self, "_slots", None)
        if partial and slots is not None and len(slots) == len(state) - model.n_parameters:
            state[model.n_parameters :] = slots
        elif partial:
            self._clock = 1.0
        return state

    def _clear(self) -> None:
        """Delete the attributes of earlier fits."""
        self._delete_attributes("_no_improvement_count", "_clock", "_slots", "coefs_", "intercepts_", "merge_weights_")
        self._clear_stopping_rule()
        self.t_: int = 0
        if self.solver != "lbfgs":
            self._delete_attributes("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")

    def _clear_stopping_rule(self) -> None:
        """Delete the stopping rule that calls of partial_fit share."""
        self._delete_attributes("_rule", "_gains")

    def _delete_attributes(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                delattr(self, name)

    def _set_weights(self, model: Network, state: np.ndarray) -> None:
        for name, value in self._weights_of(model, state).items():
            setattr(self, name, value)

    def _weights_of(self, model: Network, state: np.ndarray) -> dict[str, Any]:
        """Return the attributes that hold a state, without copies."""
        views = model.views(state)
        return {
            "coefs_": views["coefs"],
            "intercepts_": views["intercepts"],
            "_slots": state[model.n_parameters :],
            "n_layers_": len(model.sizes),
            "out_activation_": LOSSES[model.loss].activation,
        }

    def _extend_curves(self, fit: loop.Fit) -> None:
        """Extend the loss and score curves.

        The previous fit may have kept other curves, because ``early_stopping`` can change between fits.
        """
        losses, scores = epochs_of(fit, self.algorithm_.algorithm.traits.one_shot)
        self.loss_curve_: list[float] = [*getattr(self, "loss_curve_", ()), *losses]
        self.loss_ = self.loss_curve_[-1]
        costs = [-score for score in scores] if self.early_stopping else losses
        # a private attribute of scikit-learn that its own tests, and other programs, read
        self._no_improvement_count = idle_epochs(costs, self.tol)
        best = getattr(self, "best_loss_", None)
        previous_scores = getattr(self, "validation_scores_", None)
        if self.early_stopping:
            self.best_loss_: float | None = None
            self.validation_scores_: list[float] = [*(previous_scores or ()), *scores]
            # best score of this fit only, whose best weights are kept
            self.best_validation_score_: float = max((score for score in scores if score == score), default=-np.inf)
        else:
            self.best_loss_ = min(losses if best is None else [best, *losses])
            self.validation_scores_ = previous_scores
            self.best_validation_score_ = getattr(self, "best_validation_score_", None)

    # -- partial_fit: stopping rule across calls ---------------------------------------------------------------------

    def _update_early_stopping(self, model: Network, state: np.ndarray, monitor: Any) -> None:
        """Score the state; after too many calls without a better score restore the best state and set ``outcome_``."""
        rule, lr_scale = self._partial_fit_rule()
        rule.monitor = monitor
        rule.update(np.array([self.loss_]), state, lr_scale)
        rule.monitor = None
        self.validation_scores_.append(rule.scores[-1])
        self.best_validation_score_ = max(rule.scores)
        if not lr_scale.any():
            self._set_weights(model, rule.best_state)
            self.outcome_ = Outcome.CONVERGED

    def _update_adaptive_rate(self, fit: loop.Fit) -> None:
        """Lower the learning rate between calls with ``learning_rate="adaptive"``."""
        rule, lr_scale = self._partial_fit_rule()
        if rule.adaptive_from is not None:
            rule.update(np.array([self.loss_]), fit.state, lr_scale)

    def _partial_fit_rule(self) -> tuple[StoppingRule, np.ndarray]:
        if not hasattr(self, "_rule"):
            early = bool(self.early_stopping)
            self._rule = StoppingRule(
                float(self.tol), self.n_iter_no_change + 1, self._adaptive_from(), decides=early, keeps_best=early
            )
            self._gains = np.ones(1)
        return self._rule, self._gains

    # -- input and prediction --------------------------------------------------------------------------------------

    def _read(self, X: Any, y: Any, reset: bool, **settings: Any) -> tuple[Any, Any]:
        return validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            multi_output=True,
            reset=reset,
            accept_large_sparse=True,
            **settings,
        )

    def _examples(self, X: Any, y: Any, sample_weight: Any, reset: bool, **settings: Any) -> Examples:
        """Validate arrays, or wrap the rows of a Dataset."""
        if streaming.is_streamed(X):
            if self.solver == "lbfgs":
                raise InvalidArgumentError(
                    "solver='lbfgs' reads all rows at every step and needs arrays; for a Dataset use solver="
                    f" {', '.join(map(repr, STOCHASTIC))}."
                )
            return streaming.streamed_data(self, X, y, sample_weight, reset)
        X, y = self._read(X, y, reset, **settings)
        if reset:
            streaming.delete_columns(self)
        return InMemoryData(X, y, self._weights(sample_weight, X))

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        """Return weights ``(n_rows,)`` in the dtype of the data, or None if every row has weight 1."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=X.dtype)

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
