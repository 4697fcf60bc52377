"""Rows to rehearse on, and rows kept apart to see the loss on; and an estimator made ready for rehearsals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_array, check_consistent_length, check_random_state

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted_attributes import base_name, is_network
from parsgd.estimators.linear.sgd_base import MAX_INT
from parsgd.planning.heldout import HeldOut

# Rows to look at.  Where hardly any row is wrong (enron_spam), 2,000 of them told another winner than the test set.
_LOOKED_AT, _LARGEST_SHARE = 5000, 1 / 5
# Larger than any cache, so that rows take as long as they do in the whole; more would only be copied.
_MOST_BYTES = 256e6
# Fewer rows than this are not worth a plan: a fit is over before a second thread has begun.
_FEWEST_ROWS = 50
# "Never", to a rule that counts passes without improvement.
_NEVER = 10**9


@dataclass(frozen=True)
class TrialSample:
    """``X, y``: rows to train on, of ``n_rows`` that there are; ``loss`` is that on ``n_seen`` other rows."""

    X: Any
    y: np.ndarray
    loss: HeldOut
    n_rows: int
    n_seen: int

    @property
    def share(self) -> float:
        """Of all rows but those kept apart."""
        return len(self.y) / (self.n_rows - self.n_seen)

    @property
    def bytes_a_row(self) -> float:
        return (self.X.data.nbytes if sparse.issparse(self.X) else self.X.nbytes) / len(self.y)

    def first(self, n_rows: int) -> TrialSample:
        """A sample of fewer rows; of each class there is one in it."""
        if n_rows >= len(self.y):
            return self
        chosen: Any = slice(0, n_rows)
        classes = self.loss.classes
        if classes is not None and len(np.unique(self.y[chosen])) < len(classes):
            _, at = np.unique(self.y, return_index=True)
            chosen = np.union1d(np.arange(n_rows), at)
        return TrialSample(self.X[chosen], self.y[chosen], self.loss, self.n_rows, self.n_seen)


def draw(estimator: Any, X: Any, y: Any, random: np.random.RandomState) -> TrialSample:
    """Random rows to train on, as many as are of use, and others to look at."""
    X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", ensure_all_finite=False)
    y = np.asarray(y)
    check_consistent_length(X, y)
    n = X.shape[0]
    if n < _FEWEST_ROWS:
        raise InvalidArgumentError(f"A plan needs {_FEWEST_ROWS} rows to try things out on. Got {n} rows.")
    n_seen = int(min(_LOOKED_AT, n * _LARGEST_SHARE))
    bytes_a_row = (X.data.nbytes if sparse.issparse(X) else X.nbytes) / n
    n_train = min(n - n_seen, max(int(_MOST_BYTES / max(bytes_a_row, 1.0)), _FEWEST_ROWS))
    order = random.permutation(n)[: n_seen + n_train]
    classes = None
    if is_classifier(estimator) and y.ndim == 1:
        classes, numbers = np.unique(y, return_inverse=True)
        order = _with_each_class(order, n_seen, numbers, len(classes))
    seen, train = order[:n_seen], np.sort(order[n_seen:])
    train = train[random.permutation(len(train))] if n_train < n - n_seen else train
    loss = HeldOut(X[seen], y[seen], classes)
    return TrialSample(X[train], y[train], loss, n, len(seen))


def _with_each_class(order: np.ndarray, n_seen: int, numbers: np.ndarray, n_classes: int) -> np.ndarray:
    """The order with a row of each class among those to train on."""
    missing = np.setdiff1d(np.arange(n_classes), numbers[order[n_seen:]])
    if len(missing) == 0:
        return order
    ones = np.array([np.flatnonzero(numbers == number)[0] for number in missing])
    kept = order[~np.isin(order, ones)]
    return np.concatenate([kept, ones])


def prepared(estimator: Any, stops: bool = False) -> Any:
    """A copy that says nothing, holds no rows back, and goes on until it is told to end, unless it ``stops`` by its
    own rule."""
    made = clone(estimator).set_params(verbose=0, early_stopping=False, warm_start=False, checkpoint=None)
    # nobody is to hear of rehearsals
    made.set_callbacks()
    if not stops and made.tol is not None:
        # with a tolerance the steps also sum the objective up, which takes a little time
        made.set_params(tol=0.0, n_iter_no_change=_NEVER)
    return made


def check_estimator(estimator: Any) -> None:
    """Refuse what has no workers or no loss to compare."""
    name = base_name(estimator)
    if name == "SGDOneClassSVM":
        raise InvalidArgumentError(
            "plan needs a loss on rows kept apart, and SGDOneClassSVM has none: rows are of one class. Plan for a"
            " classifier or a regressor."
        )
    if name not in ("SGDClassifier", "SGDRegressor", "MLPClassifier", "MLPRegressor"):
        raise InvalidArgumentError(
            "The 'estimator' parameter of plan must be parsgd's SGDClassifier, SGDRegressor, MLPClassifier or"
            f" MLPRegressor. Got {estimator!r} instead."
        )
    if is_network(estimator) and estimator.solver == "lbfgs":
        raise InvalidArgumentError("solver='lbfgs' takes all rows at once, on one worker; plan for adam, adamw or sgd.")
    estimator._check_parameters()


def seeds_of(estimator: Any, n: int) -> tuple[np.random.RandomState, list[int]]:
    """A generator for the rows, and seeds for the runs; the estimator's own generator is left as it is."""
    random = check_random_state(clone(estimator).random_state)
    return random, [int(seed) for seed in random.randint(0, MAX_INT, n)]
