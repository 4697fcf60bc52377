"""Base class of the searches: all settings and folds in one run over the rows, then a fit with the best setting."""

from __future__ import annotations

import functools
from abc import abstractmethod
from bisect import bisect_right
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_random_state

from parsgd.errors import FitInterruptedWarning, InvalidArgumentError
from parsgd.estimators.auto_select import count_threads
from parsgd.estimators.linear.linear_validation import validation_rows
from parsgd.estimators.search.best_estimator import BestEstimator
from parsgd.estimators.search.column_block import ColumnBlock, Problem
from parsgd.estimators.search.column_search import (
    ColumnSearch,
    Passes,
    SearchResult,
    available_bytes,
    make_blocks,
    megabytes,
    memory_bytes,
)
from parsgd.estimators.search.folds import Folds, make_folds
from parsgd.estimators.search.search_grid import Setting, make_settings
from parsgd.estimators.search.search_rows import SearchRows, encode_rows
from parsgd.estimators.search.search_scores import rank_keys, summed
from parsgd.estimators.training_data import InMemoryData, StreamedData
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.divergence_check import SAMPLE_ROWS, WARN_FACTOR
from parsgd.estimators.validation.random_states import draw_seed
from parsgd.kernels import losses
from parsgd.utils.callers import warn
from parsgd.viz.live.log_view import to_stdout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.data.dataset import Dataset
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

    @abstractmethod
    def _check_targets(self, estimator: Any, folds: Folds, y: np.ndarray) -> None:
        """Raise if a fold cannot be fitted or scored."""

    @abstractmethod
    def _fold_class_weights(self, setting: Setting, train: np.ndarray, estimator: Any, y: np.ndarray) -> np.ndarray:
        """Return the weights of the classes ``(n_classes,)`` in a fold."""

    @abstractmethod
    def _sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return sums ``(n_models, 1)`` over rows with decision values ``(n_rows, n_models, n_outputs)``."""

    @abstractmethod
    def _column_sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return sums ``(n_models, n_outputs)`` for the scores that decide early stopping."""

    @abstractmethod
    def _scores_from(self, sums: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return accuracies or R^2 from the sums over all rows with the targets ``y``."""

    # -- fitting -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: MatrixLike | Dataset,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit all settings to all folds, and the best setting to all rows.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            float32 stays float32.  A data set in files is read in every pass, and once for the scores.
        y : array-like of shape (n_rows,), optional
            None for a Dataset.
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
        examples = estimator._examples(X, y, sample_weight, reset=True)
        if isinstance(examples, StreamedData) and self.scoring is not None:
            raise InvalidArgumentError(
                f"The 'scoring' parameter of {type(self).__name__} must be None (accuracy or R^2) for a Dataset."
                f" Got {self.scoring!r} instead; search on rows in memory, such as dataset.take(n)."
            )
        self.n_features_in_ = estimator.n_features_in_
        for name in ("feature_names_in_", "columns_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        estimator._learn_classes(examples)
        self._classes = getattr(estimator, "classes_", None)
        model, encoder = estimator._model_and_encoder(examples)
        rows = encode_rows(examples, encoder, self._kernel_targets, type(self).__name__)
        generator = check_random_state(self.random_state)
        cv = check_cv(self.cv, rows.labels, classifier=hasattr(estimator, "classes_"))
        # an integer seeds the split of every fold anew, as in separate fits
        drawn_from = self.random_state if isinstance(self.random_state, Integral) else generator
        hold_out = functools.partial(self._hold_out, estimator, rows, drawn_from) if self.early_stopping else None
        folds = make_folds(cv.split(rows.for_splitter, rows.labels, groups), rows.n_rows, hold_out)
        self._check_targets(estimator, folds, rows.labels)
        problem = Problem(
            n_features=model.n_features,
            n_classes=len(getattr(estimator, "classes_", ())),
            n_outputs=model.n_outputs,
            dtype=model.dtype,
            sparse=model.sparse,
            schedule=self.learning_rate,
            power_t=float(self.power_t),
            fit_intercept=bool(self.fit_intercept),
            loss_parameters={
                name: float(getattr(self, name)) for name in ("epsilon", "quantile") if hasattr(self, name)
            },
            loss_limits=self._loss_limits(settings, model, rows.target),
            tracks_penalty=self.tol is not None and not self.early_stopping,
        )
        n_threads = count_threads(self.n_jobs, "threads", type(self).__name__)
        self._check_memory(problem, settings, folds, n_threads)
        seed = draw_seed(generator) if self.shuffle else 0
        weights = {
            number: np.stack(
                [self._fold_class_weights(setting, train, estimator, rows.labels) for train in folds.train], axis=1
            )
            for number, setting in enumerate(settings)
        }
        blocks = make_blocks(problem, settings, folds, weights, n_threads)
        search = ColumnSearch(
            blocks,
            folds,
            self._passes(),
            (len(settings), folds.n_folds),
            functools.partial(self._test_scores, settings, estimator, rows, folds),
            lambda block, models: self._held_out_scores(rows, folds, block, models),
            to_stdout if self.verbose else lambda text: None,
        )
        (shard,) = rows.source(bool(self.shuffle)).split(1, seed)
        try:
            result = search.run(shard, seed, n_threads)
        finally:
            shard.close()
        self._set_results(settings, result)
        self._set_best(settings[self.best_index_], result, estimator, X, y, sample_weight)
        return self

    def _kernel_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets in the kernels' form."""
        return target

    def _loss_limits(self, settings: list[Setting], model: Linear, target: np.ndarray) -> dict[str, float]:
        """Return the mean losses above which a model has diverged, for losses whose gradient grows with the error."""
        y, limits = target[:SAMPLE_ROWS].astype(np.float64), {}
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
        self, estimator: Any, rows: SearchRows, generator: Any, train: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split the training rows of a fold as ``SGDClassifier`` does for early stopping."""
        weight = rows.factor[train] if rows.factor.size else rows.factor
        kept, decides = validation_rows(estimator, generator, rows.target[train], weight)
        return train[kept], train[decides]

    def _score_targets(self, rows: SearchRows) -> np.ndarray:
        """Return the targets of the scores."""
        return rows.kernel_target

    def _test_scores(
        self,
        settings: list[Setting],
        estimator: Any,
        rows: SearchRows,
        folds: Folds,
        block: ColumnBlock,
        models: np.ndarray,
    ) -> np.ndarray:
        """Return the scores of models on the test rows of their folds; minus infinity for models that have diverged."""
        y = self._score_targets(rows)
        if self.scoring is None:
            sums, finite = summed(rows, folds.test, y, block, models, self._sums)
            sizes = [y[folds.test[fold]] for fold in block.folds[models]]
            with np.errstate(all="ignore"):
                found = np.array(
                    [self._scores_from(each, of_fold)[0] for each, of_fold in zip(sums, sizes, strict=True)]
                )
            return np.where(finite, found, -np.inf)
        assert isinstance(rows.examples, InMemoryData)
        x, scorer = rows.examples.x, self.scoring if callable(self.scoring) else get_scorer(self.scoring)
        scores = np.full(len(models), -np.inf)
        for place, model in enumerate(models):
            test = folds.test[block.folds[model]]
            decision = block.decision(np.array([model]), x[test])
            if np.isfinite(decision).all() and not block.diverged()[model]:
                fitted = self._fitted(estimator, settings[block.settings[model]], *block.coefficients(int(model)))
                scores[place] = scorer(fitted, x[test], rows.labels[test])
        return scores

    def _held_out_scores(self, rows: SearchRows, folds: Folds, block: ColumnBlock, models: np.ndarray) -> np.ndarray:
        """Return the scores of models that decide early stopping ``(n_models, n_outputs)``."""
        y = rows.kernel_target
        sums, _ = summed(rows, folds.held_out, y, block, models, self._column_sums)
        targets = [y[folds.held_out[fold]] for fold in block.folds[models]]
        return np.stack([self._scores_from(each, of_fold) for each, of_fold in zip(sums, targets, strict=True)])

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

    def _check_memory(self, problem: Problem, settings: list[Setting], folds: Folds, n_threads: int) -> None:
        """Raise if the weights of all models need more memory than allowed."""
        needed = memory_bytes(problem, settings, folds.n_folds, n_threads)
        limit = available_bytes() if self.max_memory is None else float(self.max_memory)
        if self.verbose:
            to_stdout(f"-- {len(settings)} settings x {folds.n_folds} folds: {needed / 1e6:,.1f} MB of weights")
        if needed > limit:
            counts = range(1, len(settings))
            fit = bisect_right(
                counts, limit, key=lambda n: memory_bytes(problem, settings[:n], folds.n_folds, n_threads)
            )
            raise InvalidArgumentError(
                f"{len(settings)} settings with {folds.n_folds} folds need {megabytes(needed)} MB of weights, and"
                f" {'max_memory allows' if self.max_memory is not None else 'this machine has'} {megabytes(limit)} MB."
                f" {fit} settings fit with these folds. Try fewer, or raise max_memory."
            )

    # -- results -------------------------------------------------------------------------------------------------------

    def _set_results(self, settings: list[Setting], result: SearchResult) -> None:
        scores = np.where(np.isnan(result.scores), -np.inf, result.scores)
        finite = np.isfinite(scores).all(axis=1)
        means = np.where(finite, scores.mean(axis=1), -np.inf)
        if not np.isfinite(means).any():
            raise InvalidArgumentError(
                "All settings diverged. Give smaller etas, larger alphas (with learning_rate='optimal'), or scale the"
                " features."
            )
        # a setting that was dropped is worse than all that stayed longer
        order = means if not result.halved_after.any() else rank_keys(means, result.halved_after)
        found: dict[str, Any] = {"params": [dict(setting.varied) for setting in settings]}
        for name in self._names:
            values = [setting.varied.get(name) for setting in settings]
            if any(name in setting.varied for setting in settings):
                column = np.ma.masked_all(len(settings), dtype=object)
                column[:] = values
                found[f"param_{name}"] = column
        for fold in range(scores.shape[1]):
            found[f"split{fold}_test_score"] = scores[:, fold]
        found["mean_test_score"] = means
        with np.errstate(invalid="ignore"):
            found["std_test_score"] = np.where(finite, scores.std(axis=1), np.nan)
        found["rank_test_score"] = rankdata(-order, method="min").astype(np.int32)
        found["n_iter"] = result.n_iter.mean(axis=1)
        if self.halving:
            found["halved_after"] = result.halved_after
        self.cv_results_: dict[str, Any] = found
        self.scores_: np.ndarray = scores
        self.n_splits_: int = scores.shape[1]
        self.best_index_: int = int(np.argmax(order))
        self.best_score_: float = float(means[self.best_index_])
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
