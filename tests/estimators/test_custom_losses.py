"""A loss from outside does what a built-in one does."""

import gc
import os
import subprocess
import sys
import types
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import parsgd
from parsgd.errors import DivergedError, InvalidArgumentError
from parsgd.estimators.linear.own_loss import name_user_loss
from parsgd.kernels import loss_kernels, user_losses
from parsgd.models.linear.linear_model import Linear
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


@pytest.mark.cover(1)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("extra", [{}, {"penalty": "elasticnet", "average": True}, {"batch_size": 5}], ids=str)
def test_the_logistic_loss_written_outside_is_the_built_in_one(n_jobs, extra):
    own, built_in = (
        parsgd.SGDClassifier(loss, n_jobs=n_jobs, **QUICK, **extra).fit(X, Y) for loss in (Logistic(), "log_loss")
    )
    same(own, built_in)


@pytest.mark.slow
def test_it_serves_several_classes_one_against_the_rest():
    own, built_in = (
        parsgd.SGDClassifier(loss, n_jobs=1, **QUICK).fit(X, labels(X, 3)) for loss in (Logistic(), "log_loss")
    )
    same(own, built_in)


@given(width=st.floats(0.01, 3.0))
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


# -- defined again -------------------------------------------------------------------------------------------------

CELL = """
import math
import numba
import numpy as np
scale = {scale}

@numba.njit
def helper(r):
    return scale * r

class Cell:
    "{doc}"
    def loss(self, y, p):
        return 0.5 * helper((p - y) ** 2)

    def gradient(self, y, p):
        return helper({gradient})
"""


def cell(scale=0.5, gradient="p - y", doc="A loss"):
    """The class that a notebook cell defines when it is run."""
    names = {}
    exec(CELL.format(scale=scale, gradient=gradient, doc=doc), names)
    return names["Cell"]()


def test_a_class_that_is_defined_again_finds_what_was_compiled():
    first, again, documented = (user_losses.convert_user_loss(one) for one in (cell(), cell(), cell(doc="another")))
    assert type(first) is type(again) is type(documented)
    evaluate_all = loss_kernels.evaluate_all
    assert user_losses.get_kernel(evaluate_all, first) is user_losses.get_kernel(evaluate_all, again)


@pytest.mark.parametrize(
    "changed",
    [
        {"scale": 1.0},
        {"scale": 1},
        {"gradient": "1.5 * (p - y)"},
        {"gradient": "1 * (p - y)"},
        {"gradient": "-(y - p)"},
        {"gradient": "math.fabs(p - y)"},
        {"gradient": "math.sqrt(p - y)"},
    ],
    ids=str,
)
def test_a_loss_whose_methods_changed_is_another(changed):
    assert user_losses.fingerprint(type(cell()).gradient) != user_losses.fingerprint(type(cell(**changed)).gradient)


def test_closures_and_attributes_of_a_module_count():
    def shifted(by):
        return lambda y, p: p - y + by

    assert user_losses.fingerprint(shifted(1.0)) == user_losses.fingerprint(shifted(1.0))
    assert user_losses.fingerprint(shifted(1.0)) != user_losses.fingerprint(shifted(2.0))
    assert user_losses.fingerprint(shifted(0.0)) != user_losses.fingerprint(shifted(-0.0))
    constants = types.ModuleType("constants")
    constants.rate = 1.0
    uses = eval("lambda y, p: constants.rate * p", {"constants": constants})
    before = user_losses.fingerprint(uses)
    constants.rate = 2.0
    assert user_losses.fingerprint(uses) != before


def test_what_is_kept_of_losses_has_an_end_and_goes_with_its_kernels(monkeypatch):
    monkeypatch.setattr(user_losses, "MAX_COMPILED_LOSSES", 2)
    monkeypatch.setattr(user_losses, "_compiled_losses", OrderedDict())
    first = user_losses.convert_user_loss(cell(scale=0.1))
    gone = weakref.ref(user_losses.get_kernel(loss_kernels.evaluate_all, first))
    for scale in (0.2, 0.3, 0.2):
        user_losses.convert_user_loss(cell(scale=scale))
    assert len(user_losses._compiled_losses) == 2
    gc.collect()
    assert gone() is None


# -- values that are no numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("None", "None"),
        ("'a'", "a str"),
        ("(p, y)", "a tuple"),
        ("(p, 'a')", "a tuple"),
        ("p + 1j", "a complex number"),
        ("np.zeros(2)", "an array"),
        ("None if p > 0 else p", "a number or None"),
    ],
)
def test_a_gradient_that_is_no_number_is_refused_by_name(value, named):
    expected = rf"Cell.gradient\(self, y, p\) must return a number, and returns {named}\."
    with pytest.raises(InvalidArgumentError, match=expected):
        parsgd.SGDRegressor(cell_of(value), n_jobs=1, **QUICK).fit(X, NUMBERS)


def cell_of(value):
    """A loss whose gradient is another expression."""
    names = {}
    exec(CELL.format(scale=1.0, gradient="p", doc="").replace("helper(p)", value), names)
    return names["Cell"]()


@pytest.mark.slow
def test_ints_are_numbers():
    ours = parsgd.SGDRegressor(cell_of("1 if p > y else -1"), n_jobs=1, **QUICK).fit(X, NUMBERS)
    theirs = parsgd.SGDRegressor(cell_of("1.0 if p > y else -1.0"), n_jobs=1, **QUICK).fit(X, NUMBERS)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)


@pytest.mark.parametrize("method", ["loss", "gradient"])
def test_a_loss_that_is_nan_or_infinite_is_named(method, monkeypatch):
    """Without the time that compiling takes: as its compiled form gives it."""
    nan = {"loss": (np.nan, 1.0), "gradient": (1.0, np.nan)}[method]
    monkeypatch.setattr(Linear, "losses", lambda self, p, y: tuple(np.full(p.shape, value) for value in nan))
    expected = rf"Huber.{method}\(self, y=-1.0, p=-1.0\) returned nan"
    with pytest.raises(InvalidArgumentError, match=expected), name_user_loss(Linear(2, loss=Huber())):
        raise DivergedError("diverged")


def test_what_a_loss_raises_keeps_its_type_and_names_the_loss():
    with pytest.raises(ZeroDivisionError) as raised:
        parsgd.SGDRegressor(cell_of("1.0 / (0.0 * p)"), n_jobs=1, **QUICK).fit(X, NUMBERS)
    assert "Cell" in raised.value.__notes__[0]
