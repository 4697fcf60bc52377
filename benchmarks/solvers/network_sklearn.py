"""scikit-learn's `MLPClassifier`; its products are NumPy's, whose BLAS has so many threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from benchmarks.measuring import timed
from benchmarks.solvers.training import Fitted, Training, as_scikit_learn


@dataclass(frozen=True)
class ScikitLearn:
    training: Training
    threads: int = 2

    name = "scikit-learn"

    @property
    def speed(self) -> str:
        return f"{self.threads} BLAS thread{'s' * (self.threads > 1)}"

    def fit(self, X, y, epochs: int, seed: int = 0) -> Fitted:
        model = MLPClassifier(**as_scikit_learn(self.training, epochs, seed))
        with threadpool_limits(self.threads, user_api="blas"):
            return Fitted(timed(lambda: model.fit(X, y)), model.predict, model.predict_proba)

    def passes(self, X, y, seed: int) -> Iterator[Fitted]:
        """One fit, epoch after epoch."""
        model, seconds, classes = MLPClassifier(**as_scikit_learn(self.training, 1, seed)), 0.0, np.unique(y)
        while True:
            with threadpool_limits(self.threads, user_api="blas"):
                seconds += timed(lambda: model.partial_fit(X, y, classes=classes))
            yield Fitted(seconds, model.predict, model.predict_proba)
