"""Samples for trials: training rows, held-out rows for the loss, and estimators prepared for trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_array, check_consistent_length, check_random_state

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import kinds
from parsgd.estimators.validation.random_states import MAX_SEED
from parsgd.planning.trials.heldout import HeldOut

# Held-out rows.  With few misclassified rows (enron_spam), 2,000 rows favored another algorithm than the test set.
_HELD_OUT_ROWS, _LARGEST_SHARE = 5000, 1 / 5
# Larger than any cache, so that rows cost as much as in the whole data; a larger sample would only take longer to copy.
_MOST_BYTES = 256e6
# Smallest number of rows to plan for: with fewer, a fit ends before a second thread has started.
_FEWEST_ROWS = 50
# Disables a rule that counts passes without improvement.
_NEVER = 10**9


@dataclass(frozen=True)
class TrialSample:
    """Training rows ``X, y``, out of ``n_rows`` rows in total, and the ``loss`` on ``n_seen`` held-out rows."""

    X: Any
    y: np.ndarray
    loss: HeldOut
    n_rows: int
    n_seen: int

    @property
    def share(self) -> float:
        """Sampled fraction of the rows that are not held out."""
        return len(self.y) / (self.n_rows - self.n_seen)

    @property
    def bytes_per_row(self) -> float:
        return (self.X.data.nbytes if sparse.issparse(self.X) else self.X.nbytes) / len(self.y)

    def first(self, n_rows: int) -> TrialSample:
        """Return a sample of fewer rows that contains every class."""
        if n_rows >= len(self.y):
            return self
        chosen: Any = slice(0, n_rows)
        classes = self.loss.classes
        if classes is not None and len(np.unique(self.y[chosen])) < len(classes):
            _, at = np.unique(self.y, return_index=True)
            chosen = np.union1d(np.arange(n_rows), at)
        return TrialSample(self.X[chosen], self.y[chosen], self.loss, self.n_rows, self.n_seen)


def draw(estimator: Any, X: Any, y: Any, random: np.random.RandomState) -> TrialSample:
    """Return random training rows, up to a useful number, and held-out rows."""
    X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", ensure_all_finite=False)
    y = np.asarray(y)
    check_consistent_length(X, y)
    n = X.shape[0]
    if n < _FEWEST_ROWS:
        raise InvalidArgumentError(f"plan needs at least {_FEWEST_ROWS} rows for its trials. Got {n} rows.")
    n_seen = int(min(_HELD_OUT_ROWS, n * _LARGEST_SHARE))
    bytes_per_row = (X.data.nbytes if sparse.issparse(X) else X.nbytes) / n
    n_train = min(n - n_seen, max(int(_MOST_BYTES / max(bytes_per_row, 1.0)), _FEWEST_ROWS))
    order = random.permutation(n)[: n_seen + n_train]
    classes = None
    if is_classifier(estimator) and y.ndim == 1:
        classes, first, numbers = np.unique(y, return_index=True, return_inverse=True)
        # at the end, a row of each class that the training rows lack
        added = first[np.setdiff1d(np.arange(len(classes)), numbers[order[n_seen:]])]
        order = np.concatenate([order[~np.isin(order, added)], added])
    seen, train = order[:n_seen], np.sort(order[n_seen:])
    train = train[random.permutation(len(train))] if n_train < n - n_seen else train
    loss = HeldOut(X[seen], y[seen], classes, kinds.kind_of(estimator))
    return TrialSample(X[train], y[train], loss, n, len(seen))


def prepare(estimator: Any, stops: bool = False) -> Any:
    """Return a silent copy of the estimator without early stopping.

    Unless ``stops`` is set, it also runs without its stopping rule.
    """
    made = clone(estimator).set_params(verbose=0, early_stopping=False, warm_start=False, checkpoint=None)
    # callbacks do not apply to trials
    made.set_callbacks()
    if not stops and made.tol is not None:
        # a positive tolerance makes the steps sum the objective, which takes additional time
        made.set_params(tol=0.0, n_iter_no_change=_NEVER)
    return made


def check_estimator(estimator: Any) -> None:
    """Raise for estimators without workers or without a loss to compare."""
    name = kinds.base_name(estimator)
    if name not in kinds.estimator_names():
        *others, last = (name for kind in kinds.all_kinds() for name in kind.estimators if name in kind.plannable)
        raise InvalidArgumentError(
            f"The 'estimator' parameter of plan must be parsgd's {', '.join(others)} or {last}."
            f" Got {estimator!r} instead."
        )
    kind = kinds.kind_of(estimator)
    kind.check_plannable(estimator)
    kind.check_parameters(estimator)


def seeds_of(estimator: Any, n: int) -> tuple[np.random.RandomState, list[int]]:
    """Return a generator for the rows and seeds for the runs; the estimator's own generator is not advanced."""
    random = check_random_state(clone(estimator).random_state)
    return random, [int(seed) for seed in random.randint(0, MAX_SEED, n)]
