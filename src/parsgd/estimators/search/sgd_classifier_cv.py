"""Cross-validated search for classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.linear.sgd_classifier import SGDClassifier
from parsgd.estimators.search.best_estimator import best_has
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.folds import Folds
from parsgd.estimators.search.search_grid import Setting
from parsgd.estimators.search.sgd_search import BaseSGDSearch
from parsgd.estimators.target_encoders import class_numbers
from parsgd.estimators.training_data import finite_class_weight
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses

if TYPE_CHECKING:
    from parsgd.estimators.validation.argument_types import ClassWeight, MatrixLike, RandomState


class SGDClassifierCV(ClassifierMixin, BaseSGDSearch):
    """Linear classifier whose settings are chosen by cross-validation, all in one run over the rows.

    Every combination of a setting and a fold is a column of one weight matrix.  A row is read once per pass, and
    updates all columns whose fold trains on it.  This takes a fraction of the time of separate fits.  A column has the
    same bits as if it were trained alone on the same order of rows.

    Parameters
    ----------
    losses : sequence of str, default=("log_loss",)
        Losses of :class:`parsgd.SGDClassifier`, but no custom ones.  ``"softmax"`` cannot be mixed with others.
    penalties : sequence of {"l2", "l1", "elasticnet", None}, default=("l2",)
    alphas : sequence of float, default=(1e-6, 1e-5, 1e-4, 1e-3)
        Strengths of the penalty.
    l1_ratios : sequence of float, default=(0.15,)
        Shares of l1, for ``"elasticnet"``.
    etas : sequence of float or None, default=None
        Values of ``eta0``.  None: 0.03, 0.1, 0.3 and 1; with ``learning_rate="optimal"`` there is none.
    class_weights : sequence of dict, "balanced" or None, default=None
        Values of ``class_weight``; balanced weights are those of the training rows of a fold.
    learning_rate : {"adagrad", "optimal", "constant", "invscaling", "adaptive"}, default="adagrad"
        Schedule of all settings.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; None: 5 stratified folds.  Folds may overlap and leave rows out.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn; None: accuracy.  Scores are not weighted.
    max_iter, tol, n_iter_no_change, early_stopping, validation_fraction, shuffle, power_t, fit_intercept, epsilon :
        As in :class:`parsgd.SGDClassifier`, for every setting; ``max_iter`` is 20 by default.
    halving : bool, default=False
        Drop settings of the worse half after an eighth, a quarter and a half of ``max_iter`` passes, if they are worse
        than the best by more than four standard errors over the folds.
    refit : bool, default=True
        Fit :class:`parsgd.SGDClassifier` with the best setting to all rows.
    n_jobs : int or None, default=None
        Threads, which share the columns, and workers of the last fit.
    max_memory : float or None, default=None
        Bytes that the weights of all columns may take; None: what the machine has free.
    random_state, verbose :
        As in :class:`parsgd.SGDClassifier`.

    Attributes
    ----------
    cv_results_ : dict of arrays
        The keys of :class:`sklearn.model_selection.GridSearchCV` for scores and parameters, ``n_iter`` (mean passes),
        and with ``halving`` ``halved_after`` (passes after which a setting was dropped; 0: never).  A setting that
        diverged has the score minus infinity.
    scores_ : ndarray of shape (n_settings, n_folds)
    best_params_ : dict
        The searched parameters of the best setting.
    best_score_ : float
    best_index_ : int
    best_estimator_ : parsgd.SGDClassifier
        Fitted to all rows.
    coef_, intercept_, classes_, n_iter_ :
        Those of ``best_estimator_``.

    Notes
    -----
    Weights take ``n_features x n_settings x n_folds x n_outputs`` numbers, twice that with AdaGrad, and once more with
    a penalty of AdaGrad or l1.  With ``verbose=1`` the size is printed before the first pass.

    References
    ----------
    Jamieson, Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016.

    Examples
    --------
    >>> from parsgd import SGDClassifierCV
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = SGDClassifierCV(alphas=[1e-4, 1e-2], etas=[0.1, 1.0], random_state=0).fit(scale(X), y)
    >>> len(search.scores_), search.best_score_ > 0.95
    (4, True)
    """

    _serves = losses.CLASSIFIER

    def __init__(
        self,
        *,
        losses: Sequence[str] = ("log_loss",),
        penalties: Sequence[str | None] = ("l2",),
        alphas: Sequence[float] = (1e-6, 1e-5, 1e-4, 1e-3),
        l1_ratios: Sequence[float] = (0.15,),
        etas: Sequence[float] | None = None,
        class_weights: Sequence[ClassWeight] | None = None,
        learning_rate: str = "adagrad",
        cv: Any = None,
        scoring: Any = None,
        max_iter: int = 20,
        tol: float | None = 1e-3,
        n_iter_no_change: int = 5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        power_t: float = 0.5,
        fit_intercept: bool = True,
        epsilon: float = 0.1,
        halving: bool = False,
        refit: bool = True,
        n_jobs: int | None = None,
        max_memory: float | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        param_validation.store_arguments(self, locals())

    def _new_estimator(self) -> SGDClassifier:
        names = ("learning_rate", "max_iter", "tol", "n_iter_no_change", "early_stopping", "validation_fraction")
        names += ("shuffle", "power_t", "fit_intercept", "epsilon", "n_jobs", "random_state")
        return SGDClassifier(**{name: getattr(self, name) for name in names})

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes ``(n_classes,)``."""
        return self._best.classes_

    def _kernel_targets(self, target: np.ndarray) -> np.ndarray:
        # class numbers, also for two classes
        return (target > 0).astype(np.int64) if target.dtype.kind == "f" else target

    def _check_targets(self, estimator: Any, folds: Folds, y: np.ndarray) -> None:
        numbers = class_numbers(estimator.classes_, y)
        for fold, train in enumerate(folds.train):
            counts = np.bincount(numbers[train], minlength=len(estimator.classes_))
            if not counts.all():
                absent = estimator.classes_[counts.argmin()]
                raise InvalidArgumentError(
                    f"The training rows of fold {fold} have no row of class {absent}. Use stratified folds, fewer"
                    " folds, or more rows of the class."
                )

    def _fold_class_weights(self, setting: Setting, train: np.ndarray, estimator: Any, y: np.ndarray) -> np.ndarray:
        if setting.class_weight is None:
            return np.ones(len(estimator.classes_))
        found = compute_class_weight(setting.class_weight, classes=estimator.classes_, y=y[train])
        return finite_class_weight(found)

    def _sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the numbers of rows of the right class."""
        found = decision.argmax(axis=2) if decision.shape[2] > 1 else decision[:, :, 0] > 0
        return (found == y[:, None]).sum(axis=0)[:, None]

    def _column_sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the numbers of rows that each output decides rightly; of a joint loss, the rows of the right class."""
        n_outputs = decision.shape[2]
        if block.described.joint:
            correct = (decision.argmax(axis=2) == y[:, None])[:, :, None]
        elif n_outputs == 1:
            correct = (decision > 0) == (y == 1)[:, None, None]
        else:
            correct = (decision > 0) == (y[:, None] == np.arange(n_outputs))[:, None, :]
        return np.broadcast_to(correct.sum(axis=0), (decision.shape[1], n_outputs))

    def _scores_from(self, sums: np.ndarray, y: np.ndarray) -> np.ndarray:
        return sums / len(y)

    @available_if(best_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Compute the probability of each class with the best estimator, ``(n_rows, n_classes)``."""
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    @available_if(best_has("predict_log_proba"))
    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithm of :meth:`predict_proba`."""
        check_is_fitted(self)
        return self.best_estimator_.predict_log_proba(X)
