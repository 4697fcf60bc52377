"""Base class of all estimators: input, run and records of a fit."""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import _check_sample_weight

from parsgd.estimators import auto_select, streaming
from parsgd.estimators.cost_estimates import ProblemSize
from parsgd.estimators.fitted.checkpoint_context import FitContext, check_checkpoint
from parsgd.estimators.fitted.plain_state import PlainState
from parsgd.estimators.fitted.transaction import forget
from parsgd.estimators.sklearn_callbacks import FitTasks
from parsgd.estimators.to_sklearn import ToSklearn
from parsgd.estimators.training_data import Examples, InMemoryData
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.training import loop
from parsgd.training.stopping import StoppingRule
from parsgd.viz.live import display_mode

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from parsgd.core import Algorithm, Engine, Model
    from parsgd.estimators.validation.argument_types import CheckpointLike, RandomState

_FLOATS = (np.float64, np.float32)


class ParallelEstimator(PlainState, ToSklearn, CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class of the estimators that parsgd trains."""

    alpha: float
    power_t: float
    max_iter: int
    early_stopping: bool
    validation_fraction: float
    shuffle: bool
    verbose: int
    random_state: RandomState
    warm_start: bool
    n_jobs: int | None
    algorithm: str | Algorithm
    engine: str | Engine
    checkpoint: CheckpointLike

    # how targets are validated: None without targets, else settings of scikit-learn's check
    _target_checks: ClassVar[Mapping[str, bool] | None] = {}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @param_validation.checked_once
    def _check_arguments(self, *partial: bool) -> None:
        self._check_parameters(*partial)

    def _check_parameters(self) -> None:
        """Raise for an invalid parameter, naming it, before any work starts."""
        for name in ("shuffle", "warm_start", "early_stopping"):
            param_validation.check_flag(self, name)
        param_validation.check_number(self, "alpha", 0)
        param_validation.check_number(self, "max_iter", 1, whole=True)
        param_validation.check_number(self, "n_jobs", -np.inf, whole=True, optional=True, closed="neither")
        param_validation.check_verbose(self)
        param_validation.check_random_state(self)
        check_checkpoint(self)

    # -- input ---------------------------------------------------------------------------------------------------------

    def _read(self, X: Any, y: Any, reset: bool, dtypes: Any = _FLOATS) -> tuple[Any, Any]:
        """Validate arrays of rows and targets; return None for targets that the estimator does not use."""
        supervised = self._target_checks is not None
        target = {"y": y, **self._target_checks} if supervised else {}
        checked = validate_data(
            self,
            X,
            **target,
            accept_sparse="csr",
            dtype=list(dtypes),
            order="C",
            accept_large_sparse=True,
            reset=reset,
        )
        return checked if supervised else (checked, None)

    def _examples(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> Examples:
        """Validate arrays, or wrap the rows of a Dataset."""
        if streaming.is_streamed(X):
            supervised = self._target_checks is not None
            return streaming.streamed_data(self, X, y if supervised else None, sample_weight, reset, supervised)
        X, y = self._read(X, y, reset)
        if reset:
            forget(self, "columns_")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, allow_all_zero_weights=self._may_all_be_zero()
            )
        return InMemoryData(X, np.zeros(X.shape[0]) if y is None else y, sample_weight)

    def _may_all_be_zero(self) -> bool:
        """Return True if a later check refuses sample weights that are all zero."""
        return False

    @abstractmethod
    def _block_rows(self, row_values: float) -> int:
        """Return the rows per block of a prediction, for rows of ``row_values`` stored values."""

    # -- the run -------------------------------------------------------------------------------------------------------

    def _choose_parts(self, context: FitContext, size: ProblemSize, partial: bool) -> tuple[auto_select.Choice, Engine]:
        choice, engine = context.choose_parts(size)
        if not partial:
            auto_select.warn_of_few_rows(self.n_jobs, choice, size.n_rows)
        return choice, engine

    def _with_threads(
        self, monitor: Callable[..., np.ndarray] | None, choice: auto_select.Choice, engine: Engine
    ) -> Any:
        """Return the scorer of held-out rows with the number of its threads."""
        if monitor is None:
            return None
        who = type(self).__name__
        n_threads = auto_select.count_scoring_threads(self.n_jobs, engine, choice, who)
        return functools.partial(monitor, n_threads=n_threads)

    def _train(
        self,
        model: Model,
        examples: Examples,
        context: FitContext,
        parts: tuple[auto_select.Choice, Engine],
        start: Callable[[], np.ndarray],
        stopping: StoppingRule,
        *,
        seed: int,
        schedule_step: float,
        partial: bool,
        callback_arguments: Mapping[str, Any] | None = None,
    ) -> tuple[loop.Fit, FitTasks]:
        """Run the training loop from the state ``start()``, of which no reference is kept.

        ``callback_arguments`` replaces arguments of callbacks. The caller ends the returned tasks.
        """
        choice, engine = parts
        max_epochs = 1 if partial else int(self.max_iter)
        tasks = FitTasks(
            self,
            {**examples.callback_arguments(), **(callback_arguments or {})},
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
                stopping=stopping,
                state=start(),
                owns_state=True,
                schedule_step=schedule_step,
                checkpointer=context.writer,
                epoch_callback=tasks.epoch_callback,
            )
        return fit, tasks

    def _attributes(self, model: Any, choice: auto_select.Choice, fit: loop.Fit) -> dict[str, Any]:
        """Return the fitted attributes."""
        return {
            "n_iter_": fit.n_epochs,
            "history_": fit.history,
            "outcome_": fit.outcome,
            "algorithm_": choice,
        }
