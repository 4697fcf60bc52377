"""A model of few rows depends on no number of cores, and no fit takes more cores than were given to it."""

import warnings

import joblib
import numpy as np
import pytest
from fitted_parameters import parameters
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV

import parsgd
from parsgd import LocalSGD, MLPClassifier, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor, SimuParallel
from parsgd.core import EngineDefaults
from parsgd.errors import TooFewRowsWarning
from parsgd.estimators import auto_select
from parsgd.estimators.auto_select import count_workers
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.estimators.network.network_size import NetworkSize
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(300, 5)
QUICK = {"max_iter": 2, "random_state": 0}
LINEAR = QUICK | {"tol": None}
ESTIMATORS = [
    (SGDClassifier("log_loss", **LINEAR), labels(X)),
    (SGDClassifier("softmax", **LINEAR), labels(X, 3)),
    (SGDRegressor(**LINEAR), targets(X)),
    (SGDOneClassSVM(**LINEAR), None),
    (MLPClassifier((3,), **QUICK), labels(X)),
    (MLPRegressor(hidden_layer_sizes=(3,), **QUICK), targets(X)),
]
SMALL = LinearSize(1_500, 1_500 * 50, 50, 1)
LARGE = LinearSize(10_000_000, 500_000_000, 50, 1)
NETWORK = NetworkSize(2_000, 2_000 * 50, (50, 100, 1), 20, 2)
# a pass takes long because rows are long, and still they are few
LONG_ROWS = LinearSize(2_000, 2_000 * 100_000, 100_000, 1)


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr(auto_select.joblib, "cpu_count", lambda: 64)


def fitted(model, y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two passes are not convergence
        return model.set_params(**settings).fit(X, y)


@pytest.mark.parametrize(("model", "y"), ESTIMATORS, ids=lambda value: type(value).__name__)
def test_few_rows_give_the_model_of_one_worker_whatever_the_cores_and_the_configuration(many_cores, model, y):
    alone = parameters(fitted(model, y, n_jobs=1))
    for n_jobs in (None, -1, -8, 3):
        np.testing.assert_array_equal(parameters(fitted(model, y, n_jobs=n_jobs)), alone)
    for configured in (64, -1):
        with joblib.parallel_config(n_jobs=configured):
            np.testing.assert_array_equal(parameters(fitted(model, y, n_jobs=None)), alone)
    assert fitted(model, y, n_jobs=3, algorithm="local").algorithm_.n_workers == 3


@pytest.mark.parametrize("size", [SMALL, NETWORK], ids=lambda size: type(size).__name__)
@pytest.mark.parametrize("engine", [None, parsgd.Processes()], ids=str)
def test_so_does_every_engine(many_cores, size, engine):
    assert [count_workers(n, size, "", True, engine)[0] for n in (None, -1)] == [1, 1]


def test_long_rows_are_few_rows_too(many_cores):
    assert LONG_ROWS.n_rows // count_workers(-1, LONG_ROWS, "")[0] >= 1000


class Cluster(EngineDefaults):
    """An engine on a cluster of 64 threads."""

    on_cluster = True
    default_workers = staticmethod(lambda: 64)
    message_costs = staticmethod(lambda n_parameters: (10.0, 1e6))


def test_a_cluster_serves_many_rows_with_all_its_threads_and_few_with_one():
    assert count_workers(None, LARGE, "", True, Cluster()) == (64, "the cluster has 64 threads")
    assert [count_workers(n, LARGE, "", True, Cluster())[0] for n in (-1, -4, 7)] == [64, 61, 7]
    assert [count_workers(n, SMALL, "", True, Cluster())[0] for n in (None, -1)] == [1, 1]


def test_the_refit_of_a_grid_search_is_the_fit_outside_of_it(many_cores):
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16, y[:600]
    model = SGDClassifier("log_loss", **LINEAR)
    with joblib.parallel_config(n_jobs=64, backend="threading"):
        found = GridSearchCV(model, {"alpha": [1e-4]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(found.best_estimator_.coef_, model.fit(X, y).coef_)


# -- loops inside loops ----------------------------------------------------------------------------------------------


def counts():
    """Inside a loop: None and -1 take one worker, however much there is to do, and a number is obeyed."""
    return [count_workers(n, LARGE, "")[0] for n in (None, -1, 3)]


def in_loop(backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        return joblib.Parallel()(joblib.delayed(counts)() for _ in range(2))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_inside_another_loop_a_fit_has_one_worker_unless_it_is_set_by_number(backend):
    assert in_loop(backend) == [[1, 1, 3]] * 2


def test_so_it_is_on_dask():
    distributed = pytest.importorskip("distributed")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        assert in_loop("dask") == [[1, 1, 3]] * 2


def test_a_loop_in_a_loop_starts_no_thread_of_its_own(many_cores):
    y = labels(X)
    members = [(str(seed), SGDClassifier("log_loss", **LINEAR | {"random_state": seed})) for seed in range(4)]
    with joblib.parallel_config(n_jobs=2, backend="threading"):
        voting = VotingClassifier(members, voting="soft").fit(X, y)
    assert [member.algorithm_.n_workers for member in voting.estimators_] == [1] * 4


# -- what a number costs ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::parsgd.errors.TooFewRowsWarning")
@pytest.mark.parametrize(("model", "y"), ESTIMATORS[:4], ids=lambda value: type(value).__name__)
def test_a_number_that_harms_the_model_is_obeyed_with_one_warning_that_names_the_remedy(model, y):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.set_params(n_jobs=8, engine="serial", algorithm="simuparallel").fit(X, y)
    (warning,) = [one for one in said if one.category is TooFewRowsWarning]
    assert "n_jobs=8 leaves each worker 37 of 300 rows" in str(warning.message)
    assert "Use n_jobs=None" in str(warning.message)
    assert "n_jobs=3 or fewer" in str(warning.message)
    assert warning.filename == __file__
    assert model.algorithm_.n_workers == 8


@pytest.mark.filterwarnings("error::parsgd.errors.TooFewRowsWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"n_jobs": 3},
        {"n_jobs": 1},
        {"n_jobs": None},
        {"n_jobs": -1},
        {"n_jobs": 8, "algorithm": "minibatch"},
        {"n_jobs": 8, "algorithm": LocalSGD(outer_optimizer="adaptive")},
        {"n_jobs": 8, "algorithm": SimuParallel(partition="replicated")},
    ],
    ids=str,
)
def test_what_does_no_such_harm_is_not_warned_of(settings):
    SGDRegressor(**LINEAR, engine="serial", **settings).fit(X, targets(X))


@pytest.mark.filterwarnings("error::parsgd.errors.TooFewRowsWarning")
def test_nor_are_small_parts_of_many_rows():
    SGDRegressor(n_jobs=8, engine="serial").partial_fit(X, targets(X))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::parsgd.errors.TooFewRowsWarning")
def test_the_warning_is_of_a_harm_that_is_there():
    X, y = load_diabetes(return_X_y=True)
    one, many = (
        SGDRegressor(algorithm="local", n_jobs=n, max_iter=200, tol=None, random_state=0, engine="serial")
        .fit(X, y)
        .score(X, y)
        for n in (1, 16)
    )
    assert many < one - 0.1
