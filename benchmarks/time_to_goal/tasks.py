"""Data sets with the estimator, test loss and grid of settings of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from benchmarks.data import normal_rows, word_rows
from parsgd import MLPClassifier, SGDClassifier, SGDRegressor
from studies import datasets

# Binary and one-vs-all logistic regression, softmax regression, least squares, and a network with one hidden layer.
BINARY, ONE_VS_ALL, SOFTMAX, REGRESSION, NETWORK = "binary", "one-vs-all", "softmax", "regression", "network"
QUICK_ROWS, QUICK_TEST_ROWS = 2_000, 500

Setting = dict[str, object]
Split = tuple[object, object, np.ndarray, np.ndarray]
Model = SGDClassifier | SGDRegressor | MLPClassifier


def _ladder(least: float) -> tuple[float, ...]:
    """Six rates, each the root of 10 times the one before, rounded to one digit."""
    return tuple(float(f"{least * 10 ** (step / 2):.1g}") for step in range(6))


# Initial rates in units of 1 / (mean squared norm of a row), except those of AdaGrad, whose steps have no such unit.
# The ranges contain the best rates of studies/averaging.py, which are larger for sparse rows.
CONSTANT = {"dense": _ladder(0.01), "sparse": _ladder(0.1), REGRESSION: _ladder(0.003)}
INVSCALING = {"dense": _ladder(0.1), "sparse": _ladder(1.0), REGRESSION: _ladder(0.03)}
ADAGRAD = _ladder(0.01)
# learning_rate="optimal" has no eta0; its rates follow from alpha.
TIMES_ALPHA = (0.1, 1.0, 10.0)
ADAM, MOMENTUM = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True, eq=False)
class Task:
    """Rows to train on, rows for the test loss, and the kind of model.

    Classes are numbers from 0.  `alpha` is the penalty of linear models; the test loss has no penalty.  `hidden` and
    `batch_size` are those of a network.
    """

    name: str
    kind: str
    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray
    X_test: np.ndarray | sparse.csr_matrix
    y_test: np.ndarray
    alpha: float
    hidden: tuple[int, ...] = ()
    batch_size: int = 1

    @property
    def n_rows(self) -> int:
        return self.X.shape[0]

    @property
    def sparse(self) -> bool:
        return sparse.issparse(self.X)

    @property
    def n_classes(self) -> int:
        return int(self.y.max()) + 1

    def share(self, worker: int, n_workers: int) -> Task:
        """The task with every `n_workers`-th training row, from row `worker` on."""
        return replace(self, X=self.X[worker::n_workers].copy(), y=self.y[worker::n_workers].copy())

    def estimator(self, setting: Setting, n_epochs: int, seed: int, **workers: object) -> Model:
        """An estimator that makes `n_epochs` passes, without a stopping rule."""
        common = {"max_iter": n_epochs, "random_state": seed, **workers}
        if self.kind == NETWORK:
            network = {"hidden_layer_sizes": self.hidden, "batch_size": self.batch_size}
            network |= {"tol": 0.0, "n_iter_no_change": 10**6}
            return MLPClassifier(**{**network, **common, **setting})
        common |= {"tol": None, "alpha": self.alpha, "power_t": 0.25}
        if self.kind == REGRESSION:
            return SGDRegressor(**{**common, **setting})
        loss = "softmax" if self.kind == SOFTMAX else "log_loss"
        return SGDClassifier(loss, **{**common, **setting})

    def test_loss(self, model: Model) -> float:
        """The mean test loss; infinite if it is not a number.

        Log loss for two classes, its sum over the classes for one-vs-all, cross-entropy for softmax and networks, and
        squared error for regression.
        """
        y = self.y_test
        if self.kind == REGRESSION:
            losses = np.square(model.predict(self.X_test).astype(float) - y)
        elif self.kind == NETWORK:
            chosen = model.predict_proba(self.X_test)[np.arange(len(y)), y]
            losses = -np.log(np.maximum(chosen, np.finfo(chosen.dtype).tiny))
        else:
            decision = model.decision_function(self.X_test).astype(float)
            if self.kind == SOFTMAX:
                losses = logsumexp(decision, axis=1) - decision[np.arange(len(y)), y]
            elif self.kind == ONE_VS_ALL:
                signs = np.where(y[:, None] == np.arange(self.n_classes), 1.0, -1.0)
                losses = np.logaddexp(0.0, -signs * decision).sum(axis=1)
            else:
                losses = np.logaddexp(0.0, np.where(y == 1, -decision, decision))
        mean = float(np.mean(losses))
        return mean if np.isfinite(mean) else np.inf

    @property
    def initial_loss(self) -> float:
        """The test loss of the prediction 0, from which linear models start, and networks nearly so."""
        if self.kind == REGRESSION:
            return float(np.square(self.y_test).mean())
        if self.kind in (SOFTMAX, NETWORK):
            return float(np.log(self.n_classes))
        return float(np.log(2.0)) * (self.n_classes if self.kind == ONE_VS_ALL else 1)

    def grid(self, quick: bool = False) -> list[Setting]:
        """All settings to try, by schedule or solver and then by rate; in a quick run two of each."""
        if self.kind == NETWORK:
            grids = [
                [{"solver": "adam", "learning_rate_init": rate} for rate in ADAM],
                [{"solver": "sgd", "learning_rate_init": rate} for rate in MOMENTUM],
            ]
        else:
            kind = REGRESSION if self.kind == REGRESSION else "sparse" if self.sparse else "dense"
            unit = 1.0 / self._squared_norm()
            grids = [
                [{"learning_rate": "constant", "eta0": rate * unit} for rate in CONSTANT[kind]],
                [{"learning_rate": "invscaling", "eta0": rate * unit} for rate in INVSCALING[kind]],
                [{"learning_rate": "optimal", "alpha": factor * self.alpha} for factor in TIMES_ALPHA],
                [{"learning_rate": "adagrad", "eta0": rate} for rate in ADAGRAD],
            ]
        return [setting for settings in grids for setting in (settings[1:4:2] if quick else settings)]

    def _squared_norm(self) -> float:
        """Return the mean squared norm of the training rows."""
        values = self.X.data if self.sparse else self.X.ravel()
        return float(np.dot(values, values)) / self.n_rows


def rate_of(setting: Setting) -> str:
    """The name of the argument that sets the rate of a setting."""
    if "solver" in setting:
        return "learning_rate_init"
    return "alpha" if setting["learning_rate"] == "optimal" else "eta0"


def words(setting: Setting) -> str:
    """A setting for a table: "adagrad, eta0=0.3"."""
    name = setting.get("learning_rate", setting.get("solver"))
    return f"{'momentum' if name == 'sgd' else name}, {rate_of(setting)}={setting[rate_of(setting)]:.3g}"


@dataclass(frozen=True)
class _Recipe:
    """Kind of model, reader of the real data, generator of rows for quick runs, penalty, and shape of a network."""

    kind: str
    read: Callable[[Path], Split]
    generate: Callable[[int], tuple[object, np.ndarray]]
    alpha: float = 1e-6
    hidden: tuple[int, ...] = ()
    batch_size: int = 1


def _words(n_rows: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    return word_rows(n_rows, 3_000, 40)


def _classes_of_words(n_rows: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    X, _ = _words(n_rows)
    return X, (X @ np.random.default_rng(1).standard_normal((X.shape[1], 5))).argmax(axis=1)


def _numbers_of_words(n_rows: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    X, _ = _words(n_rows)
    y = X @ np.random.default_rng(1).standard_normal(X.shape[1])
    return X, (y - y.mean()) / y.std()


def _covtype_classes(folder: Path) -> Split:
    X, X_test, y, y_test = datasets.covtype(folder, classes=True)
    return X, X_test, y - y.min(), y_test - y.min()


def _dense(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    return normal_rows(n_rows, 54)


def _dense_classes(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    X, _ = _dense(n_rows)
    return X, (X[:, :7] + 0.5 * X[:, 7:14]).argmax(axis=1)


def _images(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten patterns of 784 values between 0 and 1, with noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n_rows)
    X = rng.random((10, 784), dtype=np.float32)[y] + 1.5 * rng.standard_normal((n_rows, 784), dtype=np.float32)
    return np.clip(X, 0.0, 1.0), y


_RECIPES = {
    "enron_spam": _Recipe(BINARY, datasets.enron_spam, _words),
    "covtype": _Recipe(BINARY, datasets.covtype, _dense),
    "nycflights_late": _Recipe(BINARY, datasets.nycflights_late, _words),
    "nycflights": _Recipe(REGRESSION, datasets.nycflights, _numbers_of_words),
    "adult": _Recipe(BINARY, datasets.adult, _words, 1e-5),
    "news20_one_vs_all": _Recipe(ONE_VS_ALL, datasets.news20, _classes_of_words),
    "news20_softmax": _Recipe(SOFTMAX, datasets.news20, _classes_of_words),
    "fashion_mnist": _Recipe(NETWORK, datasets.fashion_mnist, _images, hidden=(30,), batch_size=10),
    "fashion_mnist_256": _Recipe(NETWORK, datasets.fashion_mnist, _images, hidden=(256,), batch_size=32),
    "covtype_network": _Recipe(NETWORK, _covtype_classes, _dense_classes, hidden=(64, 32), batch_size=64),
}
NAMES = tuple(_RECIPES)


@cache
def _read(read: Callable[[Path], Split], folder: Path) -> Split:
    return read(folder)


def load(name: str, folder: Path | None) -> Task:
    """The task on real data from the folder, or on a few generated rows without one."""
    recipe = _RECIPES[name]
    if folder is None:
        X, y = recipe.generate(QUICK_ROWS + QUICK_TEST_ROWS)
        parts = X[:QUICK_ROWS], X[QUICK_ROWS:], y[:QUICK_ROWS], y[QUICK_ROWS:]
    else:
        parts = _read(recipe.read, folder)
    X, X_test, y, y_test = parts
    return Task(name, recipe.kind, X, y, X_test, y_test, recipe.alpha, recipe.hidden, recipe.batch_size)
