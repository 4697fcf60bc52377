"""Hogwild: both workers' steps arrive, shared numbers are never lost, one worker is serial SGD.

Nothing here depends on who is faster.  Where steps on one weight can be lost, what is asked for holds with any loss
that can happen.
"""

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import parsgd
from parsgd import Hogwild, LocalSGD, MLPClassifier, SGDClassifier, SGDRegressor
from parsgd.core import CsrRows, EngineDefaults, Rows
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, Outcome
from parsgd.estimators import auto_select
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm, check_model
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

DTYPES = [np.float64, np.float32]


def train(model, rows, algorithm=None, n_workers=2, engine=None, epochs=3, **settings):
    source = ArraySource(rows, settings.pop("shuffle", True))
    return fit(
        model,
        algorithm or Hogwild(),
        engine or Threads(),
        source,
        n_workers=n_workers,
        seed=4,
        max_epochs=epochs,
        **settings,
    )


def serial(model, rows, epochs=3, **settings):
    return train(model, rows, LocalSGD(sync_every=1.0), 1, Serial(), epochs, **settings)


def regression(n_rows=300, dtype=np.float64, layout="csr", **settings):
    X = unit_rows(n_rows, 8, layout=layout, dtype=dtype)
    settings = {"loss": "squared_error", "alpha": 0.01, "schedule": "constant", "eta0": 0.1, **settings}
    model = Linear(8, dtype=np.dtype(dtype).name, sparse=layout == "csr", **settings)
    return model, rows_of(X, targets(X).astype(dtype))


def empty_rows(n_rows, dtype=np.float64, target=1e6):
    """Rows without any value: nothing but the shared numbers moves."""
    x = CsrRows(np.zeros(0, dtype), np.zeros(0, np.int32), np.zeros(n_rows + 1, np.int32))
    return Rows(x, np.full(n_rows, target, dtype), np.zeros(0, dtype))


# -- every step arrives --------------------------------------------------------------------------------------------


def disjoint(n_rows, n_workers, n_classes=0, dtype=np.float64):
    """Rows of which each worker's have features of their own, 10 a worker."""
    owner = np.zeros(n_rows, dtype=int)
    for worker, shard in enumerate(ArraySource(empty_rows(n_rows)).split(n_workers, 4)):
        owner[shard.numbers] = worker
    rng = np.random.default_rng(0)
    columns = 10 * owner[:, None] + np.argsort(rng.random((n_rows, 10)), axis=1)[:, :3]
    values, pointers = rng.standard_normal(3 * n_rows).astype(dtype), np.arange(0, 3 * n_rows + 1, 3)
    X = sparse.csr_matrix((values, columns.ravel().astype(np.int32), pointers), shape=(n_rows, 10 * n_workers))
    y = rng.integers(0, n_classes, n_rows) if n_classes else rng.standard_normal(n_rows).astype(dtype)
    return X, y, owner


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_workers", [2, 3])
def test_on_features_of_their_own_workers_make_the_steps_that_each_would_make_alone(n_workers, dtype):
    X, y, owner = disjoint(20_000, n_workers, dtype=dtype)
    model = Linear(
        X.shape[1],
        dtype=np.dtype(dtype).name,
        loss="squared_error",
        sparse=True,
        penalty=None,
        schedule="constant",
        eta0=0.05,
        fit_intercept=False,
    )
    together = train(model, rows_of(X, y), n_workers=n_workers, epochs=1, shuffle=False).state
    for worker in range(n_workers):
        own = owner == worker
        alone = serial(model, rows_of(X[own], y[own]), epochs=1, shuffle=False).state
        part = slice(10 * worker, 10 * worker + 10)
        assert together[part].tobytes() == alone[part].tobytes()


def test_with_several_outputs_too():
    X, y, owner = disjoint(6000, 2, n_classes=3)
    ones = (1.0,) * 3
    model = Linear(
        20,
        3,
        loss="log_loss",
        sparse=True,
        penalty=None,
        schedule="constant",
        eta0=0.05,
        fit_intercept=False,
        positive=ones,
        negative=ones,
    )
    together = model.views(train(model, rows_of(X, y), epochs=1, shuffle=False).state)["coef"]
    for worker in range(2):
        own = owner == worker
        alone = model.views(serial(model, rows_of(X[own], y[own]), epochs=1, shuffle=False).state)["coef"]
        part = slice(10 * worker, 10 * worker + 10)
        np.testing.assert_allclose(together[part], alone[part], rtol=1e-12)


@pytest.mark.parametrize("n_workers", [2, 4])
def test_no_step_of_what_all_steps_move_is_lost(n_workers):
    # the targets are out of reach: every step moves the intercept by eta
    n_rows, eta = 40_000, 1e-3
    model = Linear(
        3, loss="epsilon_insensitive", schedule="constant", eta0=eta, alpha=0.5, penalty="elasticnet", l1_ratio=0.2
    )
    model = replace(model, sparse=True)
    start = model.init(0)
    model.views(start)["coef"][:] = 1.0
    found = train(model, empty_rows(n_rows), n_workers=n_workers, epochs=2, state=start)
    views = model.views(found.state)
    # corrections of the intercept are added; the penalty and the schedule count the mean of the workers' steps
    mean_steps = 2 * n_rows / n_workers
    assert found.schedule_step == 1 + mean_steps
    assert sum(worker["steps"] for entry in found.history for worker in entry["workers"]) == 2 * n_rows
    np.testing.assert_allclose(views["intercept"], 2 * n_rows * eta * model.intercept_decay, rtol=1e-9)
    np.testing.assert_allclose(views["penalty"], mean_steps * eta * 0.5 * 0.2, rtol=1e-9)
    np.testing.assert_allclose(views["coef"], (1.0 - eta * 0.5 * 0.8) ** mean_steps, rtol=1e-7)
    assert (model.views(start)["coef"] == 1.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_scale_that_becomes_tiny_is_folded_into_the_weights_by_one_of_the_workers(n_outputs, dtype):
    # 0.98 a step: 684 steps to 1e-6, 1026 to 1e-9
    n_rows, ones = 3000, (1.0,) * n_outputs
    model = Linear(
        3,
        n_outputs,
        np.dtype(dtype).name,
        loss="hinge",
        loss_parameter=1.0,
        schedule="constant",
        eta0=0.04,
        alpha=0.5,
        fit_intercept=False,
        sparse=True,
        positive=ones,
        negative=ones,
    )
    start = model.init(0)
    model.views(start)["coef"][:] = 1e10
    rows = empty_rows(n_rows, dtype, target=1.0)
    rows = rows if n_outputs == 1 else rows._replace(y=np.zeros(n_rows, np.int64))
    found = train(model, rows, n_workers=3, epochs=1, state=start)
    np.testing.assert_allclose(model.views(found.state)["coef"], 1e10 * 0.98 ** (n_rows / 3), rtol=1e-3)


def test_a_penalty_that_takes_all_weight_at_every_step_is_survived():
    X = unit_rows(2000, 6, layout="csr")
    for settings in ({"alpha": 50.0}, {"alpha": 1.0, "learning_rate": "constant", "eta0": 1.5}):
        model = SGDClassifier("log_loss", algorithm="hogwild", n_jobs=2, max_iter=2, tol=None, random_state=0)
        model.set_params(**settings)
        coef = model.fit(X, labels(X)).coef_
        assert np.isfinite(coef).all()
        assert np.abs(coef).max() < 10.0


# -- one worker is serial SGD --------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("settings", [{}, {"penalty": "l1"}, {"batch_size": 7}], ids=str)
def test_one_worker_is_serial_sgd_bit_for_bit(layout, dtype, settings):
    model, rows = regression(dtype=dtype, layout=layout, **settings)
    one, other = train(model, rows, n_workers=1), serial(model, rows)
    assert one.state.tobytes() == other.state.tobytes()
    assert one.schedule_step == other.schedule_step
    assert one.history[-1]["loss"] == other.history[-1]["loss"]


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_one_worker_of_a_network_is_serial_sgd_bit_for_bit(layout):
    X = unit_rows(200, 6, layout=layout)
    model = Network((6, 5, 3), loss="softmax", solver="adam", batch_size=10, sparse=layout == "csr")
    rows = rows_of(X, labels(X, 3).astype(np.int64))
    assert train(model, rows, n_workers=1).state.tobytes() == serial(model, rows).state.tobytes()


def test_the_estimator_finds_an_engine_for_one_worker():
    X = unit_rows(100, 5)
    model = SGDClassifier(algorithm="hogwild", n_jobs=1, random_state=0, max_iter=5, tol=None).fit(X, labels(X))
    plain = SGDClassifier(n_jobs=1, random_state=0, max_iter=5, tol=None).fit(X, labels(X))
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)
    assert model.t_ == plain.t_


# -- contracts and refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [Hogwild(), Hogwild(seconds=5.0)], ids=repr)
def test_it_keeps_the_contract(algorithm):
    check_algorithm(algorithm)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"dtype": "float32"}, {"penalty": "elasticnet"}, {"schedule": "optimal"}, {"batch_size": 4}],
    ids=str,
)
def test_models_that_share_keep_theirs(settings):
    X = unit_rows(64, 6, layout="csr", dtype=np.dtype(settings.get("dtype", "float64")))
    y = (2.0 * labels(X) - 1.0).astype(X.dtype)
    described = {"loss": "hinge", "loss_parameter": 1.0, "schedule": "constant", "eta0": 0.1, "alpha": 0.01, **settings}
    check_model(Linear(6, sparse=True, **described), rows_of(X, y))


class Untouched(EngineDefaults):
    name, capabilities = "untouched", frozenset({"shared_memory"})

    def open(self, work, shards, pulse):
        pytest.fail("a worker was started")


def test_an_engine_without_shared_memory_is_refused_beforehand():
    model, rows = regression()
    with pytest.raises(IncompatiblePartsError, match=r"hogwild.*needs shared_memory.*serial.*'threads'"):
        train(model, rows, engine=Serial())
    with pytest.raises(IncompatiblePartsError, match=r"hogwild.*serial"):
        SGDRegressor(algorithm="hogwild", engine="serial", n_jobs=2).fit(unit_rows(), targets(unit_rows()))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_averaged_iterates_are_refused_beforehand(n_workers):
    model, rows = regression(average=10)
    with pytest.raises(
        IncompatiblePartsError, match=r"hogwild.*needs shared_steps.*untouched.*average=10.*average=False"
    ):
        train(model, rows, engine=Untouched(), n_workers=n_workers)
    with pytest.raises(IncompatiblePartsError, match="average=1 computes"):
        SGDClassifier(algorithm="hogwild", average=True, n_jobs=2).fit(unit_rows(), labels(unit_rows()))


def test_more_features_than_rows_are_no_reason_for_fewer_workers_where_nothing_is_averaged(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    size = LinearSize(n_rows=50_000, n_values=5_000_000, n_features=60_000, n_outputs=1, sparse=True)
    workers = {
        name: auto_select.choose_parts(SGDClassifier(algorithm=name), size)[0].n_workers
        for name in ("local", "hogwild")
    }
    assert workers == {"local": 2, "hogwild": 4}


def test_a_round_of_no_length_is_refused():
    with pytest.raises(InvalidArgumentError, match="'seconds' parameter of Hogwild"):
        Hogwild(seconds=0.0)


# -- it learns -----------------------------------------------------------------------------------------------------


def words(n_rows=8000, n_features=2000, per_row=12, dtype=np.float64):
    rng = np.random.default_rng(0)
    columns = (n_features * rng.random((n_rows, per_row)) ** 3).astype(np.int32)
    X = sparse.csr_matrix(
        (rng.random(n_rows * per_row).astype(dtype), columns.ravel(), np.arange(0, n_rows * per_row + 1, per_row)),
        shape=(n_rows, n_features),
    )
    X.sum_duplicates()
    return X, np.where(X @ rng.standard_normal(n_features) > 0, 1.0, -1.0).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", [{"loss": "log_loss"}, {"loss": "hinge", "loss_parameter": 1.0, "penalty": "l1"}])
def test_on_sparse_rows_it_arrives_about_where_serial_sgd_arrives(dtype, settings):
    X, y = words(dtype=dtype)
    model = Linear(
        X.shape[1], dtype=np.dtype(dtype).name, sparse=True, alpha=1e-4, schedule="invscaling", eta0=1.0, **settings
    )
    rows = rows_of(X, y)
    ours, theirs = (model.gradient(run(model, rows, epochs=8).state, rows)[0] for run in (train, serial))
    start = model.gradient(model.init(0), rows)[0]
    # if a half of all steps were lost it would not get so far
    assert ours - theirs < 0.05 * (start - theirs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")
@pytest.mark.parametrize("solver", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_networks_learn(layout, solver):
    X = unit_rows(600, 8, layout=layout, dtype=np.float32)
    y = labels(X, 3)
    settings = {"momentum": 0.9 * (solver == "momentum"), "solver": "adam" if solver == "adam" else "sgd"}
    model = MLPClassifier(
        (16,),
        learning_rate_init=0.02 if solver == "adam" else 0.1,
        batch_size=20,
        max_iter=30,
        tol=0.0,
        alpha=0.1,
        n_iter_no_change=30,
        algorithm="hogwild",
        n_jobs=2,
        random_state=0,
        **settings,
    ).fit(X, y)
    assert model.score(X, y) > 0.75
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]


def test_a_shrinking_first_layer_of_sparse_rows_is_shrunk_by_all_workers_together():
    # no row has a value, so only the penalty moves the first layer: by 1 - 0.5 * 2 / 10 a step
    model = Network((4, 3, 2), loss="squared_error", solver="sgd", alpha=2.0, eta0=0.5, batch_size=10, sparse=True)
    rows = empty_rows(4000)._replace(y=np.zeros((4000, 2)))
    start = model.init(1)
    model.views(start)["coefs"][0][:] = 1e10
    found = train(model, rows, epochs=1, state=start)
    assert found.schedule_step == 401
    np.testing.assert_allclose(model.views(found.state)["coefs"][0], 1e10 * 0.9**400, rtol=1e-9)


# -- it ends as other algorithms do --------------------------------------------------------------------------------


def test_it_stops_when_the_loss_no_longer_falls():
    model, rows = regression()
    found = train(model, rows, epochs=1000, stopping=StoppingRule(tol=1e-3, patience=2))
    assert found.outcome is Outcome.CONVERGED
    assert found.n_epochs < 1000


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"learning_rate": "adaptive", "eta0": 0.5}])
def test_early_stopping_and_adaptive_rates_work(settings):
    X = unit_rows(500, 6, layout="csr")
    model = SGDClassifier("log_loss", algorithm="hogwild", n_jobs=2, max_iter=2000, random_state=0, **settings)
    model.fit(X, labels(X))
    assert model.outcome_ is Outcome.CONVERGED
    assert model.score(X, labels(X)) > 0.85


def test_partial_fit_goes_on_from_where_it_was():
    X = unit_rows(400, 6, layout="csr")
    model = SGDClassifier("log_loss", algorithm="hogwild", n_jobs=2, random_state=0)
    for calls in range(1, 4):
        model.partial_fit(X, labels(X), classes=[0, 1])
        assert model.t_ == 1 + 400 / 2 * calls


def test_the_history_says_who_did_what():
    model, rows = regression(301)
    found = train(model, rows, epochs=4)
    assert [entry["epoch"] for entry in found.history] == [1.0, 2.0, 3.0, 4.0]
    for entry in found.history:
        np.testing.assert_allclose([worker["weight"] for worker in entry["workers"]], [151 / 301, 150 / 301])
    assert found.examples == 4 * 301


def test_rounds_can_be_counted_in_seconds():
    model, rows = regression(2000)
    found = train(model, rows, Hogwild(seconds=0.01), epochs=200)
    assert found.outcome is Outcome.MAX_EPOCHS
    assert found.schedule_step == 1 + found.examples / 2
    assert len(found.history) >= 1


def test_more_workers_than_rows_is_no_error():
    model, rows = regression(3)
    found = train(model, rows, n_workers=5)
    assert found.examples == 9
    assert [worker["weight"] for worker in found.history[-1]["workers"]].count(0.0) == 2


def test_a_diverging_fit_says_so():
    model, rows = regression(eta0=1e200)
    with pytest.raises(DivergedError, match="worker"):
        train(model, rows)


def test_the_state_it_was_given_and_the_one_it_returns_are_nobody_elses():
    model, rows = regression()
    start = model.init(0) + 0.5
    kept = start.copy()
    found = train(model, rows, state=start)
    assert np.array_equal(start, kept)
    assert not np.shares_memory(found.state, start)


@pytest.mark.slow
def test_own_losses_are_shared_too():
    class Absolute:
        def loss(self, y, p):
            return abs(p - y)

        def gradient(self, y, p):
            return 1.0 if p > y else -1.0

    X = unit_rows(300, 5, layout="csr")
    model = SGDRegressor(Absolute(), algorithm="hogwild", n_jobs=2, max_iter=20, tol=None, random_state=0)
    assert model.fit(X, targets(X)).score(X, targets(X)) > 0.3


def test_with_threads_that_are_switched_all_the_time_nothing_is_lost():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        model, rows = regression(5000)
        assert train(model, rows, n_workers=8).schedule_step == 1 + 3 * 5000 / 8
    finally:
        sys.setswitchinterval(interval)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsgd")]


def test_it_is_in_the_registry():
    assert parsgd.registry.load(parsgd.registry.ALGORITHMS["hogwild"]) is Hogwild
