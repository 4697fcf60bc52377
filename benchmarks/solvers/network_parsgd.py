"""parsgd's `MLPClassifier`, by its defaults but for the number of workers and, if asked, the algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from benchmarks.measuring import timed
from benchmarks.solvers.training import Fitted, Training, as_scikit_learn
from parsgd import MLPClassifier


@dataclass(frozen=True)
class Parsgd:
    training: Training
    n_jobs: int = 2
    algorithm: str = "auto"

    name = "parsgd"

    @property
    def speed(self) -> str:
        return f"{self.n_jobs} worker{'s' * (self.n_jobs > 1)}"

    def fit(self, X, y, epochs: int, seed: int = 0) -> Fitted:
        settings = as_scikit_learn(self.training, epochs, seed)
        model = MLPClassifier(**settings, n_jobs=self.n_jobs, algorithm=self.algorithm)
        return Fitted(timed(lambda: model.fit(X, y)), model.predict, model.predict_proba)

    def passes(self, X, y, seed: int) -> Iterator[Fitted]:
        """Whole fits of 1, 2, 3, ... epochs: where workers average, a fit of two is not one of one and another."""
        return (self.fit(X, y, epochs, seed) for epochs in count(1))
