"""A loss from outside does what a built-in one does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import parsgd
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(150, 5)
Y, NUMBERS = labels(X), targets(X)
QUICK = {"max_iter": 4, "tol": None, "random_state": 0, "alpha": 0.01}


class Logistic:
    """``log(1 + exp(-y p))``, without attributes."""

    def loss(self, y, p):
        return np.log1p(np.exp(-y * p))

    def gradient(self, y, p):
        return -y / (1.0 + np.exp(y * p))


@dataclass
class Huber:
    """Squared near 0, straight beyond ``width``."""

    width: float = 0.1

    def loss(self, y, p):
        r = abs(p - y)
        return 0.5 * r * r if r <= self.width else self.width * (r - 0.5 * self.width)

    def gradient(self, y, p):
        return min(max(p - y, -self.width), self.width)


def same(ours, theirs):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        [entry["loss"] for entry in ours.history_], [entry["loss"] for entry in theirs.history_], rtol=1e-9
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("extra", [{}, {"penalty": "elasticnet", "average": True}, {"batch_size": 5}], ids=str)
def test_the_logistic_loss_written_outside_is_the_built_in_one(n_jobs, extra):
    own, built_in = (
        parsgd.SGDClassifier(loss, n_jobs=n_jobs, **QUICK, **extra).fit(X, Y) for loss in (Logistic(), "log_loss")
    )
    same(own, built_in)


def test_it_serves_several_classes_one_against_the_rest():
    own, built_in = (
        parsgd.SGDClassifier(loss, n_jobs=1, **QUICK).fit(X, labels(X, 3)) for loss in (Logistic(), "log_loss")
    )
    same(own, built_in)


@given(width=st.floats(0.01, 3.0))
@settings(max_examples=15)
def test_the_attributes_of_a_loss_are_its_parameters(width):
    own = parsgd.SGDRegressor(Huber(width), n_jobs=1, **QUICK).fit(X, NUMBERS)
    same(own, parsgd.SGDRegressor("huber", epsilon=width, n_jobs=1, **QUICK).fit(X, NUMBERS))


def test_a_changed_attribute_is_seen_by_the_next_fit():
    loss = Huber(0.1)
    model = parsgd.SGDRegressor(loss, n_jobs=1, **QUICK).fit(X, NUMBERS)
    before = model.coef_
    loss.width = 2.0
    assert not np.array_equal(model.fit(X, NUMBERS).coef_, before)
    same(model, parsgd.SGDRegressor("huber", epsilon=2.0, n_jobs=1, **QUICK).fit(X, NUMBERS))


def test_two_classes_of_losses_of_one_name_are_not_confused():
    def make(factor):
        class Twin:
            def loss(self, y, p):
                return factor * 0.5 * (p - y) ** 2

            def gradient(self, y, p):
                return factor * (p - y)

        return Twin()

    once, twice = (parsgd.SGDRegressor(make(factor), n_jobs=1, **QUICK).fit(X, NUMBERS) for factor in (1.0, 2.0))
    same(once, parsgd.SGDRegressor(n_jobs=1, **QUICK).fit(X, NUMBERS))
    assert not np.allclose(once.coef_, twice.coef_)


def test_an_estimator_with_a_loss_of_its_own_can_be_cloned():
    model = clone(parsgd.SGDRegressor(Huber(0.5), n_jobs=1, **QUICK))
    assert model.loss == Huber(0.5)
    same(model.fit(X, NUMBERS), parsgd.SGDRegressor("huber", epsilon=0.5, n_jobs=1, **QUICK).fit(X, NUMBERS))


class ClassAttribute(Huber):
    width = 0.1

    def __init__(self):
        pass


class CallsAnother(Logistic):
    def gradient(self, y, p):
        return self.loss(y, p)


class Misspelt(Logistic):
    def gradient(self, y, p):
        return -y / (1.0 + np.exq(y * p))


@pytest.mark.parametrize("kind", [ClassAttribute, CallsAnother, Misspelt])
def test_a_loss_that_cannot_be_compiled_is_refused_by_name(kind):
    with pytest.raises(ValueError, match=kind.__name__):
        parsgd.SGDRegressor(kind(), n_jobs=1, **QUICK).fit(X, NUMBERS)


def test_probabilities_are_not_made_up_for_a_loss_of_ones_own():
    model = parsgd.SGDClassifier(Logistic(), n_jobs=1, **QUICK).fit(X, Y)
    assert not hasattr(model, "predict_proba")


def test_a_fit_may_be_part_of_a_module_s_import(tmp_path):
    """While a module is imported, other threads that ask for it wait, and compiling a loss asks for its module."""
    (tmp_path / "training.py").write_text(
        "import numpy as np\nfrom parsgd import SGDRegressor\n\n\n"
        "class Half:\n"
        "    def loss(self, y, p):\n        return 0.25 * (y - p) ** 2\n\n"
        "    def gradient(self, y, p):\n        return 0.5 * (p - y)\n\n\n"
        "X = np.arange(40.0).reshape(20, 2) / 40\n"
        "SGDRegressor(Half(), n_jobs=2, max_iter=2, tol=None, engine='threads').fit(X, X[:, 0])\n"
    )
    source = str(Path(parsgd.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", "import training"], env=env, timeout=200, capture_output=True)
    assert done.returncode == 0, done.stderr
