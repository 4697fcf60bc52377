"""What the network estimators share: checking parameters, running a fit, keeping its results."""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.estimators import auto_select, checkpoint_context, param_validation, streaming
from parsgd.estimators.epochs import epochs_of, idle_epochs, print_epochs
from parsgd.estimators.input_validation import validate_data
from parsgd.estimators.linear.sgd_base import MAX_INT
from parsgd.estimators.network import lbfgs
from parsgd.estimators.plain_state import PlainState
from parsgd.estimators.sklearn_callbacks import FitTasks
from parsgd.estimators.to_sklearn import ToSklearn
from parsgd.estimators.training_data import Examples, InMemoryData, is_sparse
from parsgd.models.network.forward import ACTIVATIONS, propagate
from parsgd.models.network.network_model import SCHEDULES, STARTS, Network
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule
from parsgd.utils.callers import warn
from parsgd.viz.live import display_mode

STOCHASTIC = ("sgd", "adam", "adamw")


def is_stochastic(estimator: Any) -> bool:
    """Whether the solver can go on from one part of the data to the next."""
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic solvers, {', '.join(STOCHASTIC)}; {estimator.solver!r} is"
            " not one."
        )
    return True


class BaseMLP(PlainState, ToSklearn, CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """Parameters, the run, and the attributes of both network estimators."""

    def __init__(
        self, *, hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
        max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
        validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, clip_norm, weight_init,
        n_jobs, algorithm, engine, checkpoint,
    ):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.clip_norm = clip_norm
        self.weight_init = weight_init
        self.n_jobs = n_jobs
        self.algorithm = algorithm
        self.engine = engine
        self.checkpoint = checkpoint

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- parameters ------------------------------------------------------------------------------------------------

    @param_validation.checked_once
    def _check_arguments(self, *partial: bool) -> None:
        self._check_parameters(*partial)

    def _check_parameters(self) -> None:
        """Refuse what cannot be used, naming it, before any work starts."""
        param_validation.check_choice(self, "activation", ACTIVATIONS)
        param_validation.check_choice(self, "solver", (*STOCHASTIC, "lbfgs"))
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        param_validation.check_choice(self, "weight_init", STARTS)
        for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
            param_validation.check_flag(self, name)
        param_validation.check_number(self, "alpha", 0)
        param_validation.check(
            self,
            "batch_size",
            lambda v: v == "auto" if isinstance(v, str) else param_validation.is_integral(v) and v >= 1,
            "an int in the range [1, inf) or 'auto'",
        )
        param_validation.check_number(self, "learning_rate_init", 0, closed="neither")
        param_validation.check_number(self, "power_t", 0)
        param_validation.check_number(self, "max_iter", 1, whole=True)
        param_validation.check_number(self, "tol", 0)
        param_validation.check(
            self,
            "verbose",
            lambda v: isinstance(v, (bool, np.bool_)) or param_validation.is_integral(v) and v >= 0,
            "an int in the range [0, inf) or a bool",
        )
        param_validation.check_number(self, "momentum", 0, 1, closed="both")
        param_validation.check_number(self, "validation_fraction", 0, 1)
        param_validation.check_number(self, "beta_1", 0, 1)
        param_validation.check_number(self, "beta_2", 0, 1)
        param_validation.check_number(self, "epsilon", 0, closed="neither")
        param_validation.check(
            self, "n_iter_no_change",
            lambda v: param_validation.is_integral(v) and v >= 1 or param_validation.is_real(v) and v == np.inf,
            "an int in the range [1, inf) or inf",
        )  # fmt: skip
        param_validation.check_number(self, "max_fun", 1, whole=True)
        param_validation.check_number(self, "dropout", 0, 1)
        param_validation.check_number(self, "clip_norm", 0, closed="neither", optional=True)
        param_validation.check_number(self, "n_jobs", -np.inf, whole=True, optional=True, closed="neither")
        checkpoint_context.check_checkpoint(self)
        self._hidden_layers()
        if self.solver == "lbfgs" and (self.dropout > 0 or self.clip_norm is not None):
            raise InvalidArgumentError(
                "solver='lbfgs' climbs down the whole objective: dropout and clip_norm are for the stochastic solvers,"
                f" {', '.join(STOCHASTIC)}."
            )

    def _hidden_layers(self) -> tuple[int, ...]:
        """The hidden layers' sizes; raises unless all are positive ints."""
        given = self.hidden_layer_sizes
        sizes = list(given) if hasattr(given, "__iter__") and not isinstance(given, str) else [given]
        if not all(param_validation.is_integral(size) for size in sizes):
            raise InvalidArgumentError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must be an int or a list of ints in the"
                f" range [1, inf). Got {given!r} instead."
            )
        if any(size <= 0 for size in sizes):
            raise InvalidArgumentError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(int(size) for size in sizes)

    # -- what the two kinds differ in ------------------------------------------------------------------------------

    @abstractmethod
    def _network_loss(self) -> dict[str, Any]:
        """``loss`` and ``loss_parameter`` of the network."""

    @abstractmethod
    def _monitor(self, model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
        """What scores a state on held-back rows."""

    # -- the run ---------------------------------------------------------------------------------------------------

    def _fit_network(self, examples: Examples, partial: bool, held: tuple | None, stratify: bool) -> None:
        """Fit to examples; ``held`` is the user's own validation set, as kernels take it."""
        first = not hasattr(self, "coefs_") or not (self.warm_start or partial)
        random = check_random_state(checkpoint_context.random_state_of(self))
        layers = (examples.shape[1], *self._hidden_layers(), self.n_outputs_)
        plain = self._network(examples, layers, 1)
        # in a list, out of which the fit takes it: nobody else is to keep the first state alive
        states = [plain.draw(random) if first else self._resumed(plain, partial)]
        if self.solver == "lbfgs":
            if first:
                self._forget()
            self._climb_down(plain, examples, states.pop())
            return
        if self.early_stopping and held is None:
            examples, held = self._hold_back(examples, random, stratify)
        n_rows = examples.n_rows
        batch = min(200, n_rows) if self.batch_size == "auto" else int(self.batch_size)
        if batch > n_rows:
            warn(
                f"batch_size={batch} is larger than the {n_rows} rows to train on; every batch has all of them.",
            )
            batch = n_rows
        size = auto_select.NetworkSize(n_rows, examples.n_values, layers, batch, plain.n_slots, plain.sparse)
        choice, engine = checkpoint_context.choose_parts(self, size)
        if not partial:
            auto_select.warn_of_few_rows(self.n_jobs, choice, n_rows)
        # nothing is refused from here on: until now the model is what it was
        if first:
            self._forget()
        if not partial:
            self._forget_calls()
        own = -(-n_rows // choice.n_workers)
        # a batch is one worker's, unless all see the rows in one order
        most = n_rows if choice.algorithm.partition == "common_order" else own
        if choice.algorithm.message == "gradient":
            own = n_rows
            if hasattr(choice.algorithm, "size"):
                # the schedule counts the batches that are taken
                batch = choice.algorithm.size(self._network(examples, layers, batch))
        batch = min(batch, most)
        steps = -(-own // batch)
        if choice.algorithm.message == "state" and choice.algorithm.common_clock:
            # a falling rate counts passes by a clock that all workers move
            steps *= choice.n_workers
        schedule_step = getattr(self, "_clock", 1.0) if partial else 1.0
        model = self._network(examples, layers, batch, n_rows, steps, schedule_step)
        seed = int(random.randint(0, MAX_INT)) if self.shuffle or self.dropout > 0 else 0
        monitor = None if held is None else self._monitor(model, *held)
        max_epochs = 1 if partial else int(self.max_iter)
        tasks = FitTasks(
            self, examples.seen(), functools.partial(self._attributes, model, choice),
            name="partial_fit" if partial else "fit", epochs=0 if choice.algorithm.one_shot else max_epochs,
        )  # fmt: skip
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
                keeper=checkpoint_context.keeper_of(self),
                watcher=tasks.watcher,
            )
        self.history_, self.outcome_, self.algorithm_ = fit.history, fit.outcome, choice
        self._clock = fit.schedule_step
        self.t_ += fit.examples
        self.n_iter_ = fit.n_epochs
        self._keep(model, fit.state)
        self._note_curves(fit)
        print_epochs(self.verbose, fit, choice.algorithm.one_shot, network=True)
        if partial and self.early_stopping:
            self._ask_to_stop(model, fit.state, monitor)
        elif partial:
            self._lower_the_rate(fit)
        tasks.end()

    def _attributes(self, model: Network, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        """What callbacks are shown of a fit that goes on."""
        losses, _ = epochs_of(fit, choice.algorithm.one_shot)
        record = {
            "n_iter_": fit.n_epochs, "history_": fit.history, "outcome_": fit.outcome, "algorithm_": choice,
            "loss_": losses[-1],
        }  # fmt: skip
        return record | self._weights_of(model, fit.state)

    def _climb_down(self, model: Network, examples: Examples, state: np.ndarray) -> None:
        """``solver="lbfgs"``."""

        def attributes(found: lbfgs.LbfgsResult) -> dict[str, Any]:
            record = {"loss_": found.loss, "n_iter_": found.n_iter, "outcome_": found.outcome}
            return record | self._weights_of(model, found.state)

        tasks = FitTasks(self, examples.seen(), attributes, epochs=int(self.max_iter), epoch_name="lbfgs-iter")
        found = lbfgs.minimize(
            model, examples.rows(), state, max_iter=int(self.max_iter), max_fun=int(self.max_fun),
            tol=float(self.tol), verbose=self.verbose, watcher=tasks.watcher,
        )  # fmt: skip
        self.loss_, self.n_iter_, self.outcome_ = found.loss, found.n_iter, found.outcome
        self._keep(model, found.state)
        tasks.end()

    def _network(
        self, X: Any, layers: tuple[int, ...], batch: int, n_rows: int = 1, steps: int = 1, schedule_step: float = 1.0
    ) -> Network:
        """The model that the parameters describe."""
        solver = self.solver
        if solver == "sgd" and self.momentum > 0:
            solver = "nesterov" if self.nesterovs_momentum else "momentum"
        # Adam follows no schedule, as in scikit-learn
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
        """scikit-learn's rule for networks waits one epoch longer than its rule for linear models."""
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

    def _hold_back(self, examples: Examples, random, stratify: bool) -> tuple[Examples, tuple]:
        """What to train on, and the rows held back to score on; ``stratify``: of each class the same part."""
        if self.validation_fraction == 0:
            raise InvalidArgumentError("early_stopping=True needs validation_fraction > 0, or X_val and y_val.")
        split = functools.partial(self._divide, random, stratify)
        return examples.hold_back(split, self.validation_fraction, random)

    def _divide(self, random, stratify: bool, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # scikit-learn names a class that is too small "True" or "False"
        train, held = train_test_split(
            np.arange(len(y)), random_state=random, test_size=self.validation_fraction,
            stratify=np.where(y.ravel() > 0, "True", "False") if stratify else None,
        )  # fmt: skip
        if len(held) < 2:
            raise InvalidArgumentError(
                f"The validation set is too small: validation_fraction={self.validation_fraction!r} of {len(y)}"
                f" rows are {len(held)}. Increase 'validation_fraction' or the size of your dataset."
            )
        for part, name in ((train, "train"), (held, "validation")):
            if weight.size and not weight[part].any():
                raise InvalidArgumentError(
                    f"The sample weights of the {name} set are all zero; another random_state deals other rows to it."
                )
        return train, held

    def _resumed(self, model: Network, partial: bool) -> np.ndarray:
        """The state to go on from: the fitted parameters, and with ``partial_fit`` the solver's slots."""
        shapes = [coef.shape for coef in self.coefs_]
        wanted = list(zip(model.sizes[:-1], model.sizes[1:], strict=True))
        if shapes != wanted:
            raise InvalidArgumentError(
                f"This {type(self).__name__} has layers {[*(s[0] for s in shapes), shapes[-1][1]]}; parameters and data"
                f" now ask for {list(model.sizes)}. To begin anew call fit with warm_start=False."
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

    def _forget(self) -> None:
        """A fit from the beginning: nothing of the former ones is left."""
        self._drop("_no_improvement_count", "_clock", "_slots", "coefs_", "intercepts_", "merge_weights_")
        self._forget_calls()
        self.t_ = 0
        if self.solver != "lbfgs":
            self._drop("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")

    def _forget_calls(self) -> None:
        """What calls of partial_fit tell one another."""
        self._drop("_rule", "_gains")

    def _drop(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                delattr(self, name)

    def _keep(self, model: Network, state: np.ndarray) -> None:
        for name, value in self._weights_of(model, state).items():
            setattr(self, name, value)

    def _weights_of(self, model: Network, state: np.ndarray) -> dict[str, Any]:
        """The attributes that hold a state; nothing is copied."""
        views = model.views(state)
        last = {"softmax": "softmax", "sigmoid": "logistic", "poisson": "exp"}.get(model.loss, "identity")
        return {
            "coefs_": views["coefs"], "intercepts_": views["intercepts"], "_slots": state[model.n_parameters :],
            "n_layers_": len(model.sizes), "out_activation_": last,
        }  # fmt: skip

    def _note_curves(self, fit: loop.Fit) -> None:
        """Go on with the curves; the fit before may have kept others, or none: early_stopping can be set anew."""
        losses, scores = epochs_of(fit, self.algorithm_.algorithm.one_shot)
        self.loss_curve_ = [*getattr(self, "loss_curve_", ()), *losses]
        self.loss_ = self.loss_curve_[-1]
        badness = [-score for score in scores] if self.early_stopping else losses
        # a private attribute of scikit-learn's that its own tests, and other programs, read
        self._no_improvement_count = idle_epochs(badness, self.tol)
        best = getattr(self, "best_loss_", None)
        earlier = getattr(self, "validation_scores_", None)
        if self.early_stopping:
            self.best_loss_ = None
            self.validation_scores_ = [*(earlier or ()), *scores]
            # of this fit: its weights are the ones that are kept
            self.best_validation_score_ = max((score for score in scores if score == score), default=-np.inf)
        else:
            self.best_loss_ = min(losses if best is None else [best, *losses])
            self.validation_scores_ = earlier
            self.best_validation_score_ = getattr(self, "best_validation_score_", None)

    # -- partial_fit: the rule goes on from call to call ---------------------------------------------------------------

    def _ask_to_stop(self, model: Network, state: np.ndarray, monitor: Any) -> None:
        """Score the state; after too many calls without a better score keep the best one, and say so."""
        rule, lr_scale = self._rule_of_calls()
        rule.monitor = monitor
        rule.update(np.array([self.loss_]), state, lr_scale)
        rule.monitor = None
        self.validation_scores_.append(rule.scores[-1])
        self.best_validation_score_ = max(rule.scores)
        if not lr_scale.any():
            self._keep(model, rule.best_state)
            self.outcome_ = Outcome.CONVERGED

    def _lower_the_rate(self, fit: loop.Fit) -> None:
        """``learning_rate="adaptive"`` lowers the rate between calls too."""
        rule, lr_scale = self._rule_of_calls()
        if rule.adaptive_from is not None:
            rule.update(np.array([self.loss_]), fit.state, lr_scale)

    def _rule_of_calls(self) -> tuple[StoppingRule, np.ndarray]:
        if not hasattr(self, "_rule"):
            self._rule = StoppingRule(
                float(self.tol), self.n_iter_no_change + 1, self._adaptive_from(), decides=bool(self.early_stopping),
                keeps_best=bool(self.early_stopping),
            )  # fmt: skip
            self._gains = np.ones(1)
        return self._rule, self._gains

    # -- input and prediction --------------------------------------------------------------------------------------

    def _read(self, X: Any, y: Any, reset: bool, **settings: Any) -> tuple[Any, Any]:
        return validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", multi_output=True, reset=reset,
            accept_large_sparse=True, **settings,
        )  # fmt: skip

    def _examples(self, X: Any, y: Any, sample_weight: Any, reset: bool, **settings: Any) -> Examples:
        """What to train on: arrays, checked, or the rows of a Dataset."""
        if streaming.is_streamed(X):
            if self.solver == "lbfgs":
                raise InvalidArgumentError(
                    "solver='lbfgs' goes over all rows at every step, and takes arrays only; for a Dataset choose"
                    f" solver= of {', '.join(map(repr, STOCHASTIC))}."
                )
            return streaming.streamed(self, X, y, sample_weight, reset)
        X, y = self._read(X, y, reset, **settings)
        if reset:
            streaming.forget_columns(self)
        return InMemoryData(X, y, self._weights(sample_weight, X))

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        """``(n_rows,)`` in the dtype of the data, or None when every row weighs 1."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=X.dtype)

    def _check_validation_set(self, X_val: Any, y_val: Any, partial: bool) -> None:
        if (X_val is None) != (y_val is None):
            raise InvalidArgumentError("X_val and y_val belong together; only one of them was given.")
        if partial and self.early_stopping and X_val is None:
            raise InvalidArgumentError(
                "partial_fit does not support early_stopping=True without a validation set that stays the same from"
                " call to call: give X_val and y_val."
            )
        if X_val is not None and self.solver == "lbfgs":
            raise InvalidArgumentError(
                "X_val and y_val are for the stochastic solvers; solver='lbfgs' looks at no score."
            )

    def _predicted(self, X: Any) -> np.ndarray:
        """``(n_rows, n_outputs)``: probabilities, or means."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return propagate(X, self.coefs_, self.intercepts_, self.activation, self._network_loss()["loss"])

    def _warn_of_the_end(self) -> None:
        if self.outcome_ is Outcome.MAX_EPOCHS and self.solver != "lbfgs":
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't"
                " converged yet.",
                ConvergenceWarning,
            )
