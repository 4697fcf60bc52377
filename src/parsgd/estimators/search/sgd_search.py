"""Base class of the searches: all settings and folds in one run over the rows, then a fit with the best setting."""

from __future__ import annotations

import functools
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_random_state

from parsgd.data.dataset import Dataset
from parsgd.errors import FitInterruptedWarning, InvalidArgumentError
from parsgd.estimators import streaming
from parsgd.estimators.auto_select import count_threads
from parsgd.estimators.fitted.transaction import forget
from parsgd.estimators.linear.linear_validation import validation_rows
from parsgd.estimators.search.best_estimator import BestEstimator
from parsgd.estimators.search.column_block import ColumnBlock, Problem
from parsgd.estimators.search.column_search import (
    ColumnSearch,
    Passes,
    SearchResult,
    available_bytes,
    make_blocks,
    memory_bytes,
)
from parsgd.estimators.search.folded_rows import FoldedArrays, SumTypes
from parsgd.estimators.search.folded_stream import FoldedStream, check_not_on_cluster
from parsgd.estimators.search.folds import StreamFolds, count_folds, make_folds
from parsgd.estimators.search.search_grid import Setting, make_settings
from parsgd.estimators.search.search_results import cv_results, finite_or_worst
from parsgd.estimators.training_data import Examples, InMemoryData, StreamedData
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.divergence_check import SAMPLE_ROWS, WARN_FACTOR
from parsgd.estimators.validation.random_states import draw_seed
from parsgd.kernels import losses
from parsgd.utils.callers import warn
from parsgd.viz.live.log_view import to_stdout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.data.contracts import Pose
    from parsgd.estimators.validation.argument_types import MatrixLike
    from parsgd.models.linear.linear_model import Linear

SCHEDULES = ("optimal", "constant", "invscaling", "adaptive", "adagrad")


class BaseSGDSearch(BestEstimator):
    """Arguments, run and results of a search."""

    _serves: ClassVar[str] = ""
    _etas: ClassVar[tuple[float, ...]] = (0.03, 0.1, 0.3, 1.0)
    _names: ClassVar[tuple[str, ...]] = ("loss", "penalty", "alpha", "l1_ratio", "eta0", "class_weight")

    # -- differences between classification and regression -------------------------------------------------------------

    @abstractmethod
    def _new_estimator(self) -> Any:
        """Return an estimator with the parameters that are not searched."""

    # the sums of the test score, and of the score that decides early stopping
    _sums: ClassVar[SumTypes]

    @abstractmethod
    def _check_classes(self, classes: np.ndarray, counts: np.ndarray) -> None:
        """Raise if a class has no training rows in a fold; ``counts (n_folds, n_classes)``."""

    @abstractmethod
    def _fold_class_weights(self, setting: Setting, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the weights of the classes ``(n_classes,)`` in a fold with ``counts (n_classes,)``."""

    # -- fitting -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit all settings to all folds, and the best setting to all rows.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            float32 stays float32.  A Dataset is read in every pass; ``cv`` is then None or a number of folds, and
            ``scoring`` None.
        y : array-like of shape (n_rows,)
            None for a Dataset, which has its own targets and weights.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of the rows in the fits; scores are not weighted.
        groups : array-like of shape (n_rows,), optional
            Groups for the splitter ``cv``.

        Returns
        -------
        self

        Raises
        ------
        parsgd.errors.InvalidArgumentError
            For an invalid parameter, folds without rows or classes, or weights that need more memory than there is (a
            ValueError).  The message says how many settings fit.
        """
        settings = self._check_parameters()
        estimator = self._estimator()
        if streaming.is_streamed(X):
            self._check_stream(X, groups)
        examples = estimator._examples(X, y, sample_weight, reset=True)
        forget(self, "columns_", "feature_names_in_")
        for name in ("n_features_in_", "feature_names_in_", "columns_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        estimator._learn_classes(examples)
        model, encoder = estimator._model_and_encoder(examples)
        encoded = examples.encode_targets(encoder)
        if isinstance(encoded, StreamedData):
            rows = self._folded_stream(estimator, encoded)
        else:
            rows = self._folded_arrays(settings, estimator, encoded, groups)
        classes = getattr(estimator, "classes_", np.zeros(0))
        problem = Problem(
            n_features=model.n_features,
            n_classes=len(classes),
            n_outputs=model.n_outputs,
            dtype=model.dtype,
            sparse=model.sparse,
            schedule=self.learning_rate,
            power_t=float(self.power_t),
            fit_intercept=bool(self.fit_intercept),
            loss_parameters={
                name: float(getattr(self, name)) for name in ("epsilon", "quantile") if hasattr(self, name)
            },
            loss_limits=self._loss_limits(settings, model, encoded),
            tracks_penalty=self.tol is not None and not self.early_stopping,
        )
        n_threads = count_threads(self.n_jobs, "threads", type(self).__name__)
        self._check_memory(problem, settings, rows.n_folds, n_threads)
        counts = rows.class_counts()
        self._check_classes(classes, counts)
        weights = {
            number: np.stack([self._fold_class_weights(setting, classes, of_fold) for of_fold in counts], axis=1)
            for number, setting in enumerate(settings)
        }
        blocks = make_blocks(problem, settings, rows.trains, weights, n_threads)
        shape, report = (len(settings), rows.n_folds), to_stdout if self.verbose else lambda text: None
        result = ColumnSearch(blocks, rows, self._passes(), shape, report).run(n_threads)
        self._set_results(settings, result)
        self._set_best(settings[self.best_index_], result, estimator, X, y, sample_weight)
        return self

    def _folded_arrays(
        self, settings: list[Setting], estimator: Any, encoded: InMemoryData, groups: Any
    ) -> FoldedArrays:
        """Return the rows with the folds of the splitter."""
        generator = check_random_state(self.random_state)
        classes = getattr(estimator, "classes_", ())
        cv = check_cv(self.cv, encoded.y, classifier=len(classes) > 0)
        # an integer seeds the split of every fold anew, as in separate fits
        drawn_from = self.random_state if isinstance(self.random_state, Integral) else generator
        hold_out = functools.partial(self._hold_out, estimator, encoded, drawn_from) if self.early_stopping else None
        folds = make_folds(cv.split(encoded.x, encoded.y, groups), encoded.n_rows, hold_out)
        target = self._kernel_targets(encoded.target)
        seed = draw_seed(generator) if self.shuffle else 0
        source = InMemoryData(encoded.x, target=target, factor=encoded.factor).source(bool(self.shuffle))
        scorer = None
        if self.scoring is not None:
            scorer = functools.partial(self._scores_of, settings, estimator, encoded)
        shard = source.split(1, seed)[0]
        return FoldedArrays(encoded.x, target, len(classes), folds, (shard, seed), self._sums, scorer)

    def _folded_stream(self, estimator: Any, encoded: StreamedData) -> FoldedStream:
        """Return the rows of a Dataset with folds by a hash."""
        generator = check_random_state(self.random_state)
        held_out = float(self.validation_fraction) if self.early_stopping else 0.0
        folds = StreamFolds(count_folds(self.cv, type(self).__name__), draw_seed(generator), held_out)
        folds.check(encoded.n_rows)
        pose = functools.partial(_kernel_pose, encoded.encoder, self._kernel_targets)
        source = encoded.dataset.source(pose, bool(self.shuffle))
        seed = draw_seed(generator) if self.shuffle else 0
        return FoldedStream(
            encoded.dataset, source, getattr(estimator, "classes_", np.zeros(0)), folds, seed, self._sums
        )

    def _kernel_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets in the kernels' form."""
        return target

    def _loss_limits(self, settings: list[Setting], model: Linear, encoded: Examples) -> dict[str, float]:
        """Return the mean losses above which a model has diverged, for losses whose gradient grows with the error."""
        y, limits = encoded.head(SAMPLE_ROWS).astype(np.float64), {}
        for name in {setting.loss for setting in settings}:
            if losses.describe(name).gradient_grows and model.n_outputs == 1:
                zero_loss = float(replace(model, loss=name).losses(np.zeros((len(y), 1)), y)[0].mean())
                limits[losses.describe(name).name] = WARN_FACTOR * zero_loss if zero_loss > 0.0 else np.inf
        return limits

    def _passes(self) -> Passes:
        return Passes(
            int(self.max_iter),
            self.tol,
            int(self.n_iter_no_change),
            self.learning_rate == "adaptive",
            bool(self.early_stopping),
            bool(self.halving),
        )

    def _hold_out(
        self, estimator: Any, encoded: InMemoryData, generator: Any, train: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split the training rows of a fold as ``SGDClassifier`` does for early stopping."""
        weight = encoded.factor[train] if encoded.factor.size else encoded.factor
        kept, decides = validation_rows(estimator, generator, encoded.target[train], weight)
        return train[kept], train[decides]

    def _scores_of(
        self,
        settings: list[Setting],
        estimator: Any,
        examples: InMemoryData,
        block: ColumnBlock,
        models: np.ndarray,
        rows: np.ndarray,
    ) -> np.ndarray:
        """Return the scores by ``scoring`` of models on test rows; minus infinity for models that have diverged."""
        decision = block.decision(models, examples.x[rows])
        scores = np.full(len(models), -np.inf)
        scorer = self.scoring if callable(self.scoring) else get_scorer(self.scoring)
        for place in np.flatnonzero(np.isfinite(decision).all(axis=(0, 2)) & ~block.diverged()[models]):
            fitted = self._fitted(
                estimator, settings[block.settings[models[place]]], *block.coefficients(models[place])
            )
            scores[place] = scorer(fitted, examples.x[rows], examples.y[rows])
        return scores

    # -- checks --------------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> list[Setting]:
        """Raise for an invalid parameter; return the settings."""
        for name in ("fit_intercept", "shuffle", "early_stopping", "refit", "halving"):
            param_validation.check_flag(self, name)
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        param_validation.check_number(self, "max_iter", 1, whole=True)
        param_validation.check_number(self, "tol", 0, optional=True)
        param_validation.check_number(self, "n_iter_no_change", 1, whole=True)
        param_validation.check_number(self, "validation_fraction", 0, 1, closed="neither")
        param_validation.check_number(self, "power_t", -np.inf, closed="neither")
        param_validation.check_number(self, "epsilon", 0)
        param_validation.check_number(self, "max_memory", 0, optional=True, closed="neither")
        param_validation.check_number(self, "n_jobs", -np.inf, whole=True, optional=True, closed="neither")
        param_validation.check_verbose(self)
        param_validation.check_random_state(self)
        if self.scoring is not None and not callable(self.scoring):
            try:
                get_scorer(self.scoring)
            except (ValueError, TypeError) as error:
                raise InvalidArgumentError(
                    f"The 'scoring' parameter of {type(self).__name__} must be None, a name of scikit-learn's scorers"
                    f" or a callable. Got {self.scoring!r} instead."
                ) from error
        settings = make_settings(self, losses.names(self._serves))
        self._check_joint(settings)
        return settings

    def _check_joint(self, settings: list[Setting]) -> None:
        """Raise if losses with different numbers of columns are mixed."""
        names = sorted({setting.loss for setting in settings})
        if len({losses.describe(name).joint for name in names}) > 1:
            raise InvalidArgumentError(
                f"The 'losses' parameter of {type(self).__name__} mixes 'softmax' with one-against-all losses: {names}."
                " Search over one family at a time."
            )

    def _check_stream(self, dataset: Dataset, groups: Any) -> None:
        """Raise for what a search on a Dataset cannot do."""
        owner = type(self).__name__
        count_folds(self.cv, owner)
        check_not_on_cluster(dataset, owner)
        if groups is not None:
            raise InvalidArgumentError(
                f"{owner}: 'groups' must be None for a Dataset, whose rows are assigned to folds one by one. Got"
                f" {type(groups).__name__} instead. Omit it, or load the rows."
            )
        if self.scoring is not None:
            raise InvalidArgumentError(
                f"The 'scoring' parameter of {owner} must be None for a Dataset: a scorer needs all predictions in"
                f" memory. Got {self.scoring!r} instead. Use scoring=None, or load the rows."
            )

    def _check_memory(self, problem: Problem, settings: list[Setting], n_folds: int, n_threads: int) -> None:
        """Raise if the weights of all models need more memory than allowed."""
        needed = memory_bytes(problem, settings, n_folds, n_threads)
        limit = available_bytes() if self.max_memory is None else float(self.max_memory)
        if self.verbose:
            to_stdout(f"-- {len(settings)} settings x {n_folds} folds: {needed / 1e6:,.1f} MB of weights")
        if needed > limit:
            counts = range(1, len(settings))
            fit = bisect_right(counts, limit, key=lambda n: memory_bytes(problem, settings[:n], n_folds, n_threads))
            raise InvalidArgumentError(
                f"{len(settings)} settings with {n_folds} folds need {needed / 1e6:,.0f} MB of weights, and"
                f" {'max_memory allows' if self.max_memory is not None else 'this machine has'} {limit / 1e6:,.0f} MB."
                f" {fit} settings fit with these folds. Try fewer, or raise max_memory."
            )

    # -- results -------------------------------------------------------------------------------------------------------

    def _set_results(self, settings: list[Setting], result: SearchResult) -> None:
        found, order = cv_results(settings, self._names, result)
        if not self.halving:
            del found["halved_after"]
        self.cv_results_: dict[str, Any] = found
        self.scores_: np.ndarray = finite_or_worst(result.scores)
        self.n_splits_: int = self.scores_.shape[1]
        self.best_index_: int = int(np.argmax(order))
        self.best_score_: float = float(found["mean_test_score"][self.best_index_])
        self.best_params_: dict[str, Any] = dict(settings[self.best_index_].varied)

    def _set_best(
        self, setting: Setting, result: SearchResult, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> None:
        """Fit the best setting to all rows; after an interruption take the mean of its folds."""
        if result.interrupted:
            warn(
                f"The search was interrupted after {int(result.n_iter.max())} passes. The model is the mean of the best"
                " setting's folds so far.",
                FitInterruptedWarning,
            )
            folds = [result.coefficients[self.best_index_, fold] for fold in range(self.n_splits_)]
            coef, intercept = (np.mean(parts, axis=0) for parts in zip(*folds, strict=True))
            self.best_estimator_: Any = self._fitted(estimator, setting, coef, intercept)
        elif self.refit:
            self.best_estimator_ = self._estimator(setting).fit(X, y, sample_weight=sample_weight)
        else:
            vars(self).pop("best_estimator_", None)

    def _estimator(self, setting: Setting | None = None) -> Any:
        """Return an estimator with a setting, or with one of the losses."""
        estimator = self._new_estimator()
        if setting is None:
            # the strictest check of the targets
            name = max(self.losses, key=lambda name: losses.describe(name).nonnegative_targets)
            return estimator.set_params(loss=name)
        values = {
            "loss": setting.loss,
            "penalty": setting.penalty,
            "alpha": setting.alpha,
            "l1_ratio": setting.l1_ratio,
        }
        values |= {"eta0": setting.eta0}
        if "class_weight" in estimator.get_params():
            values["class_weight"] = setting.class_weight
        return estimator.set_params(**values)

    def _fitted(self, estimator: Any, setting: Setting, coef: np.ndarray, intercept: np.ndarray) -> Any:
        """Return an estimator with given coefficients."""
        fitted = self._estimator(setting)
        for name in ("n_features_in_", "feature_names_in_", "columns_", "classes_"):
            if hasattr(estimator, name):
                setattr(fitted, name, getattr(estimator, name))
        vars(fitted).update(fitted._coef_attributes(coef, intercept))
        return fitted


def _kernel_pose(
    encoder: Pose, form: Callable[[np.ndarray], np.ndarray], y: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Convert targets and weights as read to those of the columns."""
    target, factor = encoder(y, weight)
    return form(target), factor
