"""Details that users of scikit-learn's estimators observe: texts, printed lines, arrays, and ends of fits."""

import re
import warnings

import numpy as np
import pytest
from fitted_parameters import parameters
from scipy import sparse
from sklearn import linear_model, neural_network

import parsgd
from parsgd.errors import DivergedError, DivergenceWarning, InvalidArgumentError, Outcome
from parsgd.kernels.losses import CLASSIFIER, ONE_CLASS, REGRESSOR, names

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
MEANS = X @ RNG.normal(size=6)
TWO, THREE = (MEANS > 0).astype(int), np.digitize(MEANS, [-1, 1])
SHORT = {"max_iter": 8, "tol": None, "random_state": 0}
NETWORK = {"hidden_layer_sizes": (4,), "max_iter": 8, "random_state": 0}
LINEAR = [parsgd.SGDClassifier, parsgd.SGDRegressor, parsgd.SGDOneClassSVM]


# -- scores and best epochs --------------------------------------------------------------------------------------------

SCORED = [
    (parsgd.SGDClassifier(alpha=0.1, **SHORT), TWO),
    (parsgd.SGDClassifier(alpha=0.1, average=5, **SHORT), THREE),
    (parsgd.SGDClassifier("softmax", penalty="elasticnet", alpha=0.1, **SHORT), THREE),
    (parsgd.SGDClassifier("log_loss", learning_rate="adagrad", alpha=0.1, **SHORT), THREE),
    (parsgd.SGDRegressor(penalty="l1", alpha=0.1, **SHORT), MEANS),
    (parsgd.SGDRegressor(learning_rate="adagrad", alpha=0.1, **SHORT), MEANS),
    (parsgd.SGDRegressor(algorithm=parsgd.WeightedAverage(inner_delay=2), n_jobs=1, **SHORT), MEANS),
    (parsgd.MLPRegressor(solver="sgd", alpha=5.0, momentum=0, **NETWORK), MEANS),
    (parsgd.MLPClassifier(**NETWORK), THREE),
]


@pytest.mark.slow
@pytest.mark.cover(1)
@pytest.mark.parametrize(("model", "y"), SCORED, ids=[str(model)[:60] for model, _ in SCORED])
@pytest.mark.parametrize("kind", [np.float64, np.float32, sparse.csr_matrix])
def test_scoring_validation_rows_changes_no_bit_of_the_fit(model, y, kind):
    rows = kind(X)
    plain = parameters(model.fit(rows, y))
    scored = parameters(model.fit(rows, y, X_val=rows[:20], y_val=y[:20]))
    np.testing.assert_array_equal(scored, plain)


STEEP = {"activation": "identity", "solver": "sgd", "early_stopping": True, "shuffle": False, "max_iter": 20}


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_a_network_that_diverges_with_early_stopping_keeps_scikit_learns_best_epoch(rate):
    settings = STEEP | {"learning_rate_init": rate, "random_state": 0}
    with pytest.warns(DivergenceWarning, match="best epoch"):
        ours = parsgd.MLPRegressor(**settings).fit(10 * X, 10 * MEANS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = neural_network.MLPRegressor(**settings).fit(10 * X, 10 * MEANS)
    assert ours.outcome_ is Outcome.DIVERGED
    assert np.isnan(ours.validation_scores_[-1])
    finite = ours.validation_scores_[:-1]
    np.testing.assert_allclose(finite, theirs.validation_scores_[: len(finite)], rtol=1e-6)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["local", "simuparallel", "minibatch"])
def test_so_do_several_workers(algorithm):
    model = parsgd.MLPRegressor(**STEEP, n_jobs=2, algorithm=algorithm, learning_rate_init=1.0, random_state=0)
    with pytest.warns(DivergenceWarning, match="best epoch"):
        model.fit(10 * X, 10 * MEANS)
    assert model.outcome_ is Outcome.DIVERGED
    assert all(np.isfinite(coef).all() for coef in model.coefs_)
    assert np.isfinite(model.predict(X)).all()


def test_networks_whose_first_epoch_diverges_and_linear_models_raise():
    with pytest.raises(DivergedError, match=r"Solver produced non-finite parameter weights\..*epoch #\d+"):
        parsgd.MLPRegressor(**STEEP | {"learning_rate_init": 1e200, "batch_size": 10}).fit(X, MEANS)
    with pytest.raises(DivergedError, match=r"Floating-point under-/overflow occurred at epoch #1"):
        parsgd.SGDRegressor(early_stopping=True, learning_rate="constant", eta0=1e200).fit(1e100 * X, MEANS)


def test_non_finite_network_weights_are_called_what_scikit_learn_calls_them():
    said = "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
    huge = np.finfo(float).max * RNG.uniform(size=(10, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for settings in ({}, {"solver": "sgd"}, {"solver": "lbfgs"}):
            with pytest.raises(ValueError, match=said):
                parsgd.MLPRegressor(**settings).fit(huge, np.arange(10.0))


# -- float32 -----------------------------------------------------------------------------------------------------------


def test_float32_networks_are_as_close_to_float64_as_scikit_learns():
    def distance(kind):
        settings = {"hidden_layer_sizes": (5, 3), "max_iter": 100, "shuffle": False, "random_state": 0, "alpha": 1e-5}
        double, single = (kind(**settings).fit(X.astype(dtype), MEANS) for dtype in (np.float64, np.float32))
        return max(np.abs(a - b).max() for a, b in zip(double.coefs_, single.coefs_, strict=True))

    assert distance(parsgd.MLPRegressor) < 2 * distance(neural_network.MLPRegressor)


@pytest.mark.parametrize("settings", [{}, {"average": True}, {"penalty": "l1"}, {"learning_rate": "constant"}], ids=str)
def test_float32_regression_is_close_to_float64(settings):
    double, single = (
        parsgd.SGDRegressor(random_state=0, max_iter=50, tol=None, **settings).fit(X.astype(dtype), 100 * MEANS + 7)
        for dtype in (np.float64, np.float32)
    )
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=0, atol=1e-5 * np.abs(double.coef_).max())
    np.testing.assert_allclose(single.intercept_, double.intercept_, rtol=1e-5)


# -- texts and tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LINEAR)
def test_starts_of_a_wrong_shape_are_named(kind):
    with pytest.raises(InvalidArgumentError, match=r"Provided coef_init does not match dataset.*\(3,\).*6"):
        kind().fit(X, THREE, coef_init=np.zeros(3))
    name = "offset_init" if kind is parsgd.SGDOneClassSVM else "intercept_init"
    with pytest.raises(InvalidArgumentError, match=rf"Provided {name} does not match dataset.*\(7,\)"):
        kind().fit(X, THREE, **{name: np.zeros(7)})


@pytest.mark.parametrize("kind", [parsgd.MLPClassifier, parsgd.MLPRegressor])
def test_partial_fit_with_early_stopping_names_both_and_the_way_out(kind):
    with pytest.raises(ValueError, match=r"partial_fit does not support early_stopping=True without.*X_val and y_val"):
        kind(early_stopping=True).partial_fit(X, TWO)


LABELS = [np.array(["a"] * 10 + ["b"] * 9 + ["c"]), np.array([5] * 10 + [6] * 9 + [7]), np.array(["a"] * 19 + ["b"])]


@pytest.mark.parametrize("y", LABELS, ids=lambda y: str(y[-1]))
def test_classes_too_small_to_hold_rows_back_have_their_own_names(y):
    with pytest.raises(ValueError, match=re.escape(f"members are: {[y[-1].item()]}")):
        parsgd.SGDClassifier(early_stopping=True).fit(X[:20], y)
    if len(set(y)) == 2:
        with pytest.raises(ValueError, match=re.escape("members are: ['True']")):
            parsgd.MLPClassifier(early_stopping=True).fit(X[:20], y)


def test_loss_functions_is_scikit_learns_table():
    serves = {"SGDClassifier": CLASSIFIER, "SGDRegressor": REGRESSOR, "SGDOneClassSVM": ONE_CLASS}
    for kind in LINEAR:
        assert kind.loss_functions == getattr(linear_model, kind.__name__).loss_functions
        assert set(kind.loss_functions) <= set(names(serves[kind.__name__]))


# -- printed lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [True, 1, 10])
def test_networks_print_scikit_learns_lines(capsys, verbose):
    settings = NETWORK | {"shuffle": False, "verbose": verbose, "early_stopping": True, "solver": "sgd"}
    printed = []
    for kind in (parsgd.MLPClassifier, neural_network.MLPClassifier):
        kind(**settings).fit(X, TWO)
        printed.append(re.findall(r"^(?:Iteration|Validation).*", capsys.readouterr().out, flags=re.M))
    assert len(printed[0]) == 16
    assert printed[0] == printed[1]


@pytest.mark.parametrize("y", [TWO, MEANS])
def test_linear_models_print_epochs_and_losses_as_scikit_learn_does(capsys, y):
    name = "SGDClassifier" if y is TWO else "SGDRegressor"
    printed = []
    for home in (parsgd, linear_model):
        getattr(home, name)(verbose=1, **SHORT).fit(X, y)
        out = capsys.readouterr().out
        printed.append((re.findall(r"-- Epoch (\d+)", out), re.findall(r"Avg\. loss: ([\d.]+)", out)))
    assert printed[0][0] == printed[1][0] == [str(number) for number in range(1, 9)]
    np.testing.assert_allclose(np.array(printed[0][1], float), np.array(printed[1][1], float), rtol=1e-3)


def test_quiet_fits_print_nothing(capsys):
    parsgd.MLPClassifier(**NETWORK).fit(X, TWO)
    parsgd.SGDClassifier(**SHORT).fit(X, TWO)
    assert capsys.readouterr().out == ""


def test_networks_count_epochs_without_improvement():
    model = parsgd.MLPClassifier(**NETWORK | {"max_iter": 300, "tol": 0.1, "n_iter_no_change": 3}).fit(X, TWO)
    assert model.outcome_ is Outcome.CONVERGED
    assert model._no_improvement_count == 4


# -- arrays and workers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [2, 4, -1])
def test_n_jobs_changes_no_model_of_several_classes_and_few_rows(n_jobs):
    alone, several = (parsgd.SGDClassifier(n_jobs=n, **SHORT).fit(X, THREE) for n in (1, n_jobs))
    np.testing.assert_array_equal(several.coef_, alone.coef_)
    assert several.algorithm_.n_workers == 1
    named = parsgd.SGDClassifier(n_jobs=2, algorithm="local", **SHORT).fit(X, THREE)
    assert named.algorithm_.n_workers == 2
