"""How a network is trained: what all solvers of networks are told alike, and what they give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Training:
    """A network of rectifiers and a softmax, trained without a penalty in steps on `batch` rows.

    `layers` are the numbers of inputs, of hidden units, and of classes; `optimiser` is "sgd" (with Nesterov's
    `momentum`, if it is not 0) or "adam"; `rate` is constant.
    """

    layers: tuple[int, ...]
    batch: int
    optimiser: str = "sgd"
    rate: float = 1e-3
    momentum: float = 0.0

    def __str__(self) -> str:
        named = {"sgd": "SGD", "adam": "Adam"}[self.optimiser]
        momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        return f"{named}{momentum}, rate {self.rate:g}, batches of {self.batch}"

    @property
    def operations(self) -> int:
        """Multiplications and additions of the products for one row: 2 a weight forward, 2 for the gradient, and 2
        backwards past every layer but the first."""
        sizes = [i * o for i, o in pairwise(self.layers)]
        return 6 * sum(sizes) - 2 * sizes[0]

    @property
    def n_weights(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.layers))


class Fitted(NamedTuple):
    """Seconds that training took, `predict(X) -> classes` and `predict_proba(X)`, shape (rows, classes)."""

    seconds: float
    predict: Callable[[np.ndarray], np.ndarray]
    predict_proba: Callable[[np.ndarray], np.ndarray] | None = None


def as_scikit_learn(training: Training, epochs: int, seed: int) -> dict:
    """The parameters of an `MLPClassifier`, scikit-learn's or ours, that makes all of its epochs."""
    return {
        "hidden_layer_sizes": training.layers[1:-1],
        "batch_size": training.batch,
        "solver": training.optimiser,
        "momentum": training.momentum,
        "learning_rate_init": training.rate,
        "alpha": 0.0,
        "max_iter": epochs,
        "tol": 0.0,
        "n_iter_no_change": 10**6,
        "random_state": seed,
    }
