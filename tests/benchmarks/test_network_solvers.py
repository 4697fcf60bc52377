"""Solvers of networks are told the same and make as many passes as they are asked for."""

from itertools import islice

import numpy as np
import pytest

from benchmarks.problems.network_rows import network_rows
from benchmarks.solvers.network_parsgd import Parsgd
from benchmarks.solvers.network_sklearn import ScikitLearn
from benchmarks.solvers.network_torch import PyTorch, is_installed
from benchmarks.solvers.training import Training

TRAINING = Training((8, 16, 3), 20, "adam", 1e-2)
needs_torch = pytest.mark.skipif(not is_installed(), reason="PyTorch is not installed")
# one epoch is not enough for scikit-learn, and it says so
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SOLVERS = [Parsgd, ScikitLearn, pytest.param(PyTorch, marks=needs_torch)]


@pytest.fixture(scope="module")
def rows():
    return network_rows(1_000, 8, 3)


@pytest.mark.parametrize("make", SOLVERS)
@pytest.mark.parametrize(
    "training", [TRAINING, Training((8, 16, 3), 20, "sgd", 0.03, 0.9), Training((8, 16, 3), 20, "sgd", 0.3)], ids=str
)
def test_every_solver_learns(make, training, rows):
    X, y = rows
    fitted = make(training).fit(X, y, 20, seed=0)
    assert np.mean(fitted.predict(X) == y) > 0.9
    assert fitted.seconds > 0


@pytest.mark.parametrize("make", [Parsgd, pytest.param(PyTorch, marks=needs_torch)])
def test_the_kth_pass_is_a_fit_of_k_epochs(make, rows):
    X, y = rows
    third = next(islice(make(TRAINING).passes(X, y, 1), 2, None))
    np.testing.assert_array_equal(third.predict(X), make(TRAINING).fit(X, y, 3, seed=1).predict(X))


def test_scikit_learns_passes_go_on_from_one_another(rows):
    X, y = rows
    passes = list(islice(ScikitLearn(TRAINING).passes(X, y, 1), 12))
    assert np.all(np.diff([one.seconds for one in passes]) > 0)
    assert np.mean(passes[-1].predict(X) == y) > 0.85


def test_operations_are_those_of_the_products():
    # forward 8*16 + 16*3 weights, as many for the gradient, and backwards past the second layer only; 2 a weight
    assert Training((8, 16, 3), 20).operations == 2 * (2 * (8 * 16 + 16 * 3) + 16 * 3)
    assert Training((8, 16, 3), 20).n_weights == 9 * 16 + 17 * 3
