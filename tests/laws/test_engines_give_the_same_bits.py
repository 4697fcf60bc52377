"""Promises 2, 3 and 4: the same bits on every engine, in whatever pieces and order; equal workers are equal."""

import numpy as np
import pytest
from scipy import sparse

from parsgd import (
    DelayedSGD,
    ElasticAveraging,
    LocalSGD,
    MiniBatch,
    SGDClassifier,
    SGDRegressor,
    Simulated,
    SimuParallel,
    WeightedAverage,
)
from parsgd.algorithms.common import worker_loop
from parsgd.core import EngineDefaults
from parsgd.engines.serial import Serial

ALGORITHMS = [
    SimuParallel(),
    SimuParallel(partition="replicated"),
    WeightedAverage(),
    WeightedAverage(rule="steps"),
    WeightedAverage(rule="measured"),
    WeightedAverage(rule="uniform"),
    LocalSGD(),
    LocalSGD(sync_every=0.3, rule="wp"),
    LocalSGD(sync_every=1.0, rule="steps"),
    LocalSGD(sync_every=0.2, outer_optimizer="adaptive"),
    LocalSGD(sync_every="adaptive", outer_optimizer="nesterov"),
    LocalSGD(sync_every=0.5, rule="learned"),
    LocalSGD(sync_every=0.3, rule="coordinate"),
    WeightedAverage(rule="touched"),
    DelayedSGD(5),
    ElasticAveraging(),
]


def problem(kind="binary", layout="dense", dtype=np.float64, rows=301):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 9)).astype(dtype)
    X[rng.random(X.shape) < 0.3] = 0.0
    score = X @ rng.standard_normal(9)
    y = {"binary": score > 0, "several": np.digitize(score, [-1, 1]), "value": score}[kind]
    return (sparse.csr_matrix(X) if layout == "csr" else X), y


def estimator(kind, **settings):
    settings = {"max_iter": 3, "tol": None, "random_state": 5, **settings}
    if kind == "value":
        return SGDRegressor(**settings)
    return SGDClassifier(loss="log_loss", alpha=0.01, **settings)


def bits(model):
    return model.coef_.tobytes() + model.intercept_.tobytes()


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize(("kind", "layout"), [("binary", "dense"), ("several", "csr"), ("value", "dense")])
def test_every_engine_repeats_the_bits_of_the_serial_engine(algorithm, kind, layout):
    X, y = problem(kind, layout)
    for n_jobs in (1, 2, 3):
        make = estimator(kind, algorithm=algorithm, n_jobs=n_jobs).set_params
        made = [bits(make(engine=engine).fit(X, y)) for engine in ("serial", "threads", "simulated")]
        assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, MiniBatch(16)], ids=repr)
def test_where_all_workers_are_waited_for_their_speeds_change_no_bit(algorithm):
    X, y = problem()
    slow = Simulated(speeds=(1.0, 0.01, 0.3), latency_s=(0.1, 0.0, 2.0), jitter=0.5, merge_s=0.1, rate=50.0)
    make = estimator("binary", algorithm=algorithm, n_jobs=3).set_params
    assert bits(make(engine="serial").fit(X, y)) == bits(make(engine=slow).fit(X, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings",
    [
        dict(penalty="elasticnet", average=True),
        dict(batch_size=7),
        dict(tol=1e-3, max_iter=500),
        dict(learning_rate="adagrad", eta0=0.3),
    ],
)
def test_what_a_fit_finds_does_not_depend_on_the_pieces_it_is_cut_into(monkeypatch, dtype, settings):
    X, y = problem("several", dtype=dtype)
    whole = estimator("several", n_jobs=2, algorithm="local", **settings).fit(X, y)
    monkeypatch.setattr(worker_loop, "_FIRST_CHUNK_VALUES", 1)
    monkeypatch.setattr(worker_loop, "_CHUNK_SECONDS", 1e-9)
    pieces = estimator("several", n_jobs=2, algorithm="local", **settings).fit(X, y)
    assert bits(whole) == bits(pieces)


class Backwards(EngineDefaults):
    """Reports arrive in the wrong order."""

    name, capabilities = "backwards", frozenset()

    def open(self, work, shards, pulse):
        crew = Serial().open(work, shards, pulse)
        receive = crew.receive
        crew.receive = lambda at_least: receive(at_least)[::-1]
        return crew


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_the_order_in_which_reports_arrive_changes_nothing(algorithm):
    X, y = problem()
    usual = estimator("binary", algorithm=algorithm, engine="serial", n_jobs=3).fit(X, y)
    assert bits(usual) == bits(estimator("binary", algorithm=algorithm, engine=Backwards(), n_jobs=3).fit(X, y))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    X, y = problem()
    one, again, other = (
        estimator("binary", n_jobs=2, algorithm="local", random_state=seed).fit(X, y) for seed in (0, 0, 1)
    )
    assert bits(one) == bits(again) != bits(other)


@pytest.mark.parametrize("rule", ["wp", "steps", "measured"])
def test_equal_workers_weighted_are_equal_workers_averaged(rule):
    X, y = problem(rows=300)
    weighted = estimator("binary", algorithm=WeightedAverage(rule=rule), n_jobs=3).fit(X, y)
    uniform = estimator("binary", algorithm=SimuParallel(), n_jobs=3).fit(X, y)
    np.testing.assert_allclose(weighted.coef_, uniform.coef_, rtol=1e-12)
    np.testing.assert_allclose([w["weight"] for w in weighted.history_[0]["workers"]], 1 / 3)


def test_csr_rows_give_what_dense_rows_give():
    for kind in ("binary", "several", "value"):
        # as in scikit-learn, sparse rows take smaller steps on the intercept, and pay l1 only for stored values
        dense, csr = (
            estimator(kind, fit_intercept=False, n_jobs=2, algorithm="local").fit(*problem(kind, layout))
            for layout in ("dense", "csr")
        )
        np.testing.assert_allclose(csr.coef_, dense.coef_, atol=1e-12)


def test_more_workers_than_rows_is_no_error():
    X, y = problem(rows=5)
    y = np.array([0, 1, 0, 1, 1])
    model = estimator("binary", n_jobs=8, algorithm="local").fit(X, y)
    assert np.isfinite(model.coef_).all()
    workers = model.history_[-1]["workers"]
    assert sum(worker["weight"] == 0.0 for worker in workers) >= 3


def test_shards_share_no_row_and_leave_none_out():
    from parsgd.data.sources.array_source import ArraySource
    from parsgd.utils.row_arrays import rows_of

    X, y = problem(rows=103)
    for workers in (1, 2, 7, 200):
        shards = ArraySource(rows_of(X, y.astype(float))).split(workers, 3)
        rows = np.concatenate([shard.numbers for shard in shards])
        assert sorted(rows) == list(range(103))
        sizes = [shard.n_rows for shard in shards]
        assert max(sizes) - min(sizes) <= 1


def test_a_file_sorted_by_label_gives_every_worker_both_labels():
    X, y = problem(rows=400)
    order = np.argsort(y, kind="stable")
    sorted_fit = estimator("binary", n_jobs=2, algorithm="simuparallel", shuffle=True).fit(X[order], y[order])
    assert sorted_fit.score(X, y) > 0.9


@pytest.mark.parametrize("kind", ["binary", "several", "value"])
def test_a_mini_batch_is_one_step_along_the_mean_of_its_gradients(kind):
    from parsgd.models.linear.linear_model import Linear
    from parsgd.utils.row_arrays import rows_of

    X, y = problem(kind, rows=60)
    settings = dict(learning_rate="constant", eta0=0.1, batch_size=6, shuffle=False, n_jobs=1, max_iter=1)
    ours = estimator(kind, **settings).fit(X, y)
    outputs = 3 if kind == "several" else 1
    loss = "squared_error" if kind == "value" else "log_loss"
    ones = (1.0,) * outputs
    model = Linear(9, outputs, loss=loss, alpha=0.0001 if kind == "value" else 0.01, positive=ones, negative=ones)
    target = y.astype(np.int64) if kind == "several" else (y if kind == "value" else 2.0 * y - 1.0)
    state = model.init(0)
    for start in range(0, 60, 6):
        state -= 0.1 * model.gradient(state, rows_of(X[start : start + 6], target[start : start + 6]))[1]
    np.testing.assert_allclose(np.squeeze(model.views(state)["coef"].T), np.squeeze(ours.coef_), atol=1e-12)
    np.testing.assert_allclose(model.views(state)["intercept"], ours.intercept_, atol=1e-12)


def test_the_sum_of_gradients_at_rate_eta_over_b_is_their_mean_at_rate_eta():
    X, y = problem("value", rows=60)
    settings = dict(learning_rate="constant", batch_size=6, penalty=None, shuffle=False, n_jobs=1)
    mean = estimator("value", eta0=0.06, **settings).fit(X, y)
    # weights of 6 turn the mean of a batch into its sum
    summed = estimator("value", eta0=0.01, **settings).fit(X, y, sample_weight=np.full(60, 6.0))
    np.testing.assert_allclose(summed.coef_, mean.coef_, atol=1e-12)


def test_in_a_batch_a_row_of_weight_two_is_the_row_twice():
    X, y = problem("value", rows=4)
    settings = dict(learning_rate="constant", eta0=0.01, penalty=None, shuffle=False, n_jobs=1, max_iter=1)
    twice = estimator("value", batch_size=8, **settings).fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    heavy = estimator("value", batch_size=4, **settings).fit(X, y, sample_weight=np.full(4, 2.0))
    settings["eta0"] = 0.02
    np.testing.assert_allclose(
        estimator("value", batch_size=8, **settings).fit(np.repeat(X, 2, axis=0), np.repeat(y, 2)).coef_,
        heavy.coef_,
        atol=1e-12,
    )
    assert not np.allclose(twice.coef_, heavy.coef_)
