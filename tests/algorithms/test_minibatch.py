"""Exact mini-batch: any number of workers gives what one gives on the whole batch, to rounding."""

from dataclasses import replace

import numpy as np
import pytest

from parsgd import MiniBatch, SimuParallel
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, InvalidArgumentError, Outcome
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import SOLVERS, Network
from parsgd.testing import check_algorithm
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES = 45, 6
WORKERS = (1, 2, 3, 7)


def network(layout="dense", weighted=False, loss="softmax", dtype=np.float64, **settings):
    """A network whose last batch of an epoch has 5 rows, so that of 7 workers some have none; and rows."""
    X = unit_rows(N_ROWS, N_FEATURES, layout=layout, dtype=dtype)
    y = labels(X, 3).astype(np.int64)
    if loss != "softmax":
        y = np.random.default_rng(0).standard_normal((N_ROWS, 3)).astype(dtype)
    weight = np.random.default_rng(1).uniform(0.2, 2.0, N_ROWS).astype(dtype) if weighted else None
    settings = {"activation": "tanh", "batch_size": 8, "alpha": 0.2, "eta0": 0.05, "epsilon": 1e-3, **settings}
    model = Network((N_FEATURES, 9, 5, 3), loss=loss, dtype=np.dtype(dtype).name, sparse=layout == "csr", **settings)
    return model, rows_of(X, y, weight)


def linear(layout="dense", weighted=False, n_classes=0, **settings):
    X = unit_rows(N_ROWS, N_FEATURES, layout=layout)
    y = targets(X) if n_classes == 0 else labels(X, n_classes)
    y = 2.0 * y - 1.0 if n_classes == 2 else (y.astype(np.int64) if n_classes else y)
    k = n_classes if n_classes > 2 else 1
    weight = np.random.default_rng(1).uniform(0.2, 2.0, N_ROWS) if weighted else None
    rng = np.random.default_rng(2)
    settings = {
        "loss": "squared_error",
        "alpha": 0.05,
        "schedule": "constant",
        "eta0": 0.3,
        "batch_size": 16,
        "positive": tuple(rng.uniform(0.5, 1.5, k)),
        "negative": tuple(rng.uniform(0.5, 1.5, k)),
        **settings,
    }
    return Linear(N_FEATURES, k, sparse=layout == "csr", **settings), rows_of(X, y, weight)


def train(model, rows, algorithm=None, n_workers=1, engine=None, epochs=3, **settings):
    source = ArraySource(rows, settings.pop("shuffle", True), settings.pop("subset", None))
    return fit(
        model,
        algorithm or MiniBatch(),
        engine or Serial(),
        source,
        n_workers=n_workers,
        seed=4,
        max_epochs=epochs,
        **settings,
    )


def serial(model, rows, **settings):
    """One worker's run of compiled steps."""
    return train(model, rows, SimuParallel(), 1, **settings)


def assert_same(ours, theirs, tolerance=1e-9):
    assert ours.state.dtype == theirs.state.dtype
    np.testing.assert_allclose(ours.state, theirs.state, rtol=tolerance, atol=tolerance / 100)
    assert (ours.schedule_step, ours.examples, ours.n_epochs) == (
        theirs.schedule_step,
        theirs.examples,
        theirs.n_epochs,
    )


# -- networks ------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("layout", "weighted", "settings"),
    [
        ("dense", False, {"dropout": 0.4}),
        ("dense", True, {"clip_norm": 0.3}),
        ("dense", False, {"loss": "huber", "activation": "gelu"}),
        ("csr", True, {"dropout": 0.3, "activation": "logistic"}),
        ("dense", False, {"schedule": "invscaling", "rows_per_epoch": 45.0, "steps_per_epoch": 6.0}),
    ],
    ids=["dropout", "weights and clipping", "huber", "csr", "invscaling"],
)
def test_any_number_of_workers_trains_the_network_that_one_trains(layout, weighted, settings, solver):
    model, rows = network(layout, weighted, solver=solver, **settings)
    theirs = serial(model, rows)
    assert theirs.schedule_step == 1.0 + 3 * 6
    for n_workers in WORKERS:
        ours = train(model, rows, n_workers=n_workers)
        assert_same(ours, theirs)


def test_in_single_precision_too():
    model, rows = network(dtype=np.float32, dropout=0.2)
    for n_workers in WORKERS:
        assert_same(train(model, rows, n_workers=n_workers), serial(model, rows), 1e-4)


@pytest.mark.parametrize("n_workers", WORKERS)
def test_the_losses_of_a_pass_are_those_of_one_worker(n_workers):
    kinds = (network(dropout=0.3), network(loss="squared_error"), network(weighted=True, solver="sgd"))
    for model, rows in (*kinds, linear(n_classes=3, loss="softmax")):
        theirs = [loss for _, loss, _ in serial(model, rows).history[0]["workers"][0]["trace"]]
        history = train(model, rows, n_workers=n_workers).history
        ours = []
        for epoch in (1, 2, 3):
            entries = [entry for entry in history if epoch - 1 < entry["epoch"] <= epoch]
            examples = [sum(worker["examples"] for worker in entry["workers"]) for entry in entries]
            ours.append(np.average([entry["loss"] for entry in entries], weights=examples))
            assert sum(examples) == N_ROWS
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


# -- linear models -------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("average", [0, 1, 6])
@pytest.mark.parametrize("penalty", ["l2", None])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_any_number_of_workers_trains_the_linear_model_that_one_trains(layout, penalty, average, n_classes):
    loss = "log_loss" if n_classes else "huber"
    for settings in ({}, {"schedule": "optimal"}, {"schedule": "invscaling", "fit_intercept": False}):
        model, rows = linear(
            layout, True, n_classes, loss=loss, loss_parameter=0.4, penalty=penalty, average=average, **settings
        )
        theirs = serial(model, rows)
        for n_workers in WORKERS:
            assert_same(train(model, rows, n_workers=n_workers), theirs)


@pytest.mark.parametrize(
    ("schedule", "n_classes", "loss"),
    [
        ("pa1", 2, "hinge"),
        ("pa2", 2, "hinge"),
        ("pa1", 3, "hinge"),
        ("pa2", 3, "squared_hinge"),
        ("pa1", 0, "epsilon_insensitive"),
        ("pa2", 0, "epsilon_insensitive"),
        ("constant", 3, "softmax"),
    ],
)
def test_passive_aggressive_and_softmax_steps_are_summed_over_workers_too(schedule, n_classes, loss):
    parameter = {"hinge": 1.0, "epsilon_insensitive": 0.1}.get(loss, 0.0)
    model, rows = linear(n_classes=n_classes, loss=loss, loss_parameter=parameter, schedule=schedule, penalty=None)
    theirs = serial(model, rows)
    for n_workers in WORKERS:
        assert_same(train(model, rows, n_workers=n_workers), theirs)


@pytest.mark.parametrize("average", [0, 4])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_with_an_l1_penalty_three_workers_train_what_one_trains(penalty, average):
    # not what a compiled run finds: its weights pay l1 when a row touches them, and what one owes beyond zero is
    # remembered (Tsuruoka et al. 2009); here all weights pay at every step and none is in debt
    model, rows = linear(penalty=penalty, average=average, alpha=0.1, l1_ratio=0.6)
    alone = train(model, rows)
    for n_workers in WORKERS[1:]:
        assert_same(train(model, rows, n_workers=n_workers), alone)
    coef = model.views(alone.state)["coef"]
    assert 0 < np.count_nonzero(coef == 0.0) < coef.size
    near = model.gradient(serial(model, rows).state, rows)[0]
    np.testing.assert_allclose(model.gradient(alone.state, rows)[0], near, rtol=0.05)


def test_a_step_of_l1_is_a_proximal_step():
    model, rows = linear(penalty="l1", alpha=0.2, batch_size=N_ROWS)
    before = model.init(0)
    model.views(before)["coef"][:] = np.linspace(-0.3, 0.3, N_FEATURES)[:, None]
    after = train(model, rows, n_workers=2, epochs=1, state=before).state
    gradient = replace(model, penalty=None).gradient(before[: replace(model, penalty=None).size], rows)[1]
    moved = before[:N_FEATURES] - 0.3 * gradient[:N_FEATURES]
    theirs = np.sign(moved) * np.maximum(np.abs(moved) - 0.3 * 0.2, 0.0)
    np.testing.assert_allclose(after[:N_FEATURES], theirs, rtol=1e-12, atol=1e-14)


# -- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [network, linear])
def test_the_size_of_a_batch_is_the_algorithms_or_else_the_models(make):
    model, rows = make()
    wide = replace(model, batch_size=20)
    theirs = serial(wide, rows)
    for n_workers in (1, 3):
        assert_same(train(model, rows, MiniBatch(20), n_workers), theirs)
        assert_same(train(model, rows, MiniBatch(np.int64(20)), n_workers), theirs)
        assert_same(train(wide, rows, MiniBatch(), n_workers), theirs)


def test_a_model_of_single_rows_is_given_batches_of_256():
    X = unit_rows(600, N_FEATURES)
    model, rows = linear(batch_size=1)[0], rows_of(X, targets(X))
    found = train(model, rows, n_workers=2)
    assert found.schedule_step == 1.0 + 3 * 3
    assert_same(found, serial(replace(model, batch_size=256), rows))


def test_more_workers_than_rows_in_a_batch_is_no_error():
    model, rows = network(batch_size=3)
    found = train(model, rows, n_workers=50)
    assert_same(found, serial(model, rows))
    shares = [sum(entry["workers"][worker]["examples"] for entry in found.history) for worker in range(50)]
    assert sum(shares) == 3 * N_ROWS
    assert np.count_nonzero(shares) == 3


def test_workers_share_every_batch_evenly():
    model, rows = network(batch_size=7)
    for entry in train(model, rows, n_workers=3, epochs=1).history:
        examples = [worker["examples"] for worker in entry["workers"]]
        assert max(examples) - min(examples) <= 2  # a history's entry may hold two batches
        weights = [worker["weight"] for worker in entry["workers"]]
        np.testing.assert_allclose(weights, np.array(examples) / sum(examples))


def test_rows_in_stored_order_and_some_of_the_rows_are_what_one_worker_sees():
    model, rows = network()
    subset = np.flatnonzero(np.arange(N_ROWS) % 3).astype(np.int32)
    for settings in ({"shuffle": False}, {"subset": subset}, {"subset": subset, "shuffle": False}):
        assert_same(train(model, rows, n_workers=3, **settings), serial(model, rows, **settings))


def test_a_batch_that_weighs_nothing_is_passed_over():
    model, rows = network(solver="adam")
    weight = np.ones(N_ROWS)
    weight[8:16] = 0.0
    rows = rows_of(np.array(rows.x.data).reshape(N_ROWS, -1), rows.y, weight)
    for n_workers in (1, 3):
        assert_same(train(model, rows, n_workers=n_workers, shuffle=False), serial(model, rows, shuffle=False))


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", True, float("nan")])
def test_a_batch_size_that_is_no_count_is_refused(size):
    with pytest.raises(
        InvalidArgumentError, match=r"'batch_size' parameter of MiniBatch must be an int of at least 1"
    ) as error:
        MiniBatch(size)
    assert repr(size) in str(error.value)


# -- the fit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [network, linear])
@pytest.mark.parametrize("n_workers", [2, 3])
def test_threads_give_the_bits_of_the_serial_engine(make, n_workers):
    model, rows = make(weighted=True)
    found = [train(model, rows, n_workers=n_workers, engine=engine) for engine in (Serial(), Threads())]
    assert found[0].state.tobytes() == found[1].state.tobytes()


@pytest.mark.parametrize("n_workers", WORKERS)
def test_the_fit_stops_where_one_worker_stops(n_workers):
    for model, rows in (network(solver="momentum", batch_size=16), linear(n_classes=2, loss="log_loss")):
        rule = StoppingRule(tol=1e-3, patience=3)
        theirs = serial(model, rows, epochs=300, stopping=rule)
        ours = train(model, rows, n_workers=n_workers, epochs=300, stopping=rule)
        assert ours.outcome is theirs.outcome is Outcome.CONVERGED
        assert 3 < ours.n_epochs < 300
        assert_same(ours, theirs, 1e-7)


def test_an_adaptive_rate_falls_as_one_workers_does():
    model, rows = network(solver="sgd", eta0=0.3, batch_size=16)
    rule = StoppingRule(tol=1e-2, patience=2, adaptive_from=0.3)
    theirs = serial(model, rows, epochs=60, stopping=rule)
    ours = train(model, rows, n_workers=3, epochs=60, stopping=rule)
    assert 0.0 < theirs.lr_scale[0] < 1.0 or theirs.outcome is Outcome.CONVERGED
    np.testing.assert_array_equal(ours.lr_scale, theirs.lr_scale)
    assert_same(ours, theirs, 1e-7)


@pytest.mark.parametrize("batch_size", [1, 4, 30, 500])
def test_the_history_has_about_ten_entries_a_pass_and_adds_up(batch_size):
    X = unit_rows(201, N_FEATURES)
    model, rows = linear()[0], rows_of(X, targets(X))
    found = train(model, rows, MiniBatch(batch_size), 3)
    steps = -(-201 // batch_size)
    assert len(found.history) <= 3 * min(steps, 10) + 1
    assert [entry["epoch"] for entry in found.history] == sorted({entry["epoch"] for entry in found.history})
    assert found.history[-1]["epoch"] == 3.0
    assert {1.0, 2.0} < {entry["epoch"] for entry in found.history}
    assert sum(worker["examples"] for entry in found.history for worker in entry["workers"]) == 3 * 201
    assert sum(entry["workers"][0]["steps"] for entry in found.history) == 3 * steps
    for entry in found.history:
        assert list(entry) == [
            "round",
            "epoch",
            "seconds",
            "merge_seconds",
            "check_seconds",
            "loss",
            "score",
            "workers",
            "lost",
        ]
        workers = entry["workers"]
        assert [worker["worker"] for worker in workers] == [0, 1, 2]
        np.testing.assert_allclose(sum(worker["weight"] for worker in workers), 1.0)
        examples = [worker["examples"] for worker in workers]
        np.testing.assert_allclose(np.average([w["loss"] for w in workers], weights=examples), entry["loss"])
    everything = [sum(worker["examples"] for worker in entry["workers"]) for entry in found.history]
    mean = np.average([entry["loss"] for entry in found.history], weights=everything)
    np.testing.assert_allclose(mean, serial(replace(model, batch_size=batch_size), rows).history[0]["loss"], rtol=1e-9)


def test_scores_are_in_the_entry_that_ends_a_pass():
    model, rows = network()
    rule = StoppingRule(tol=None, monitor=lambda state: np.array([-model.gradient(state, rows)[0]]))
    history = train(model, rows, MiniBatch(2), 2, stopping=rule).history
    assert [entry["epoch"] for entry in history if entry["score"] is not None] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("engine", [Serial(), Threads()], ids=lambda engine: engine.name)
@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_loss_that_is_no_number_is_an_error_that_names_the_round(engine, n_workers):
    wild = {"loss": "squared_error", "activation": "identity", "solver": "sgd", "eta0": 1e8}
    for model, rows in (network(**wild), linear(eta0=1e300)):
        with pytest.raises(DivergedError, match=r"the objective of worker \d became NaN or infinite in round \d+"):
            train(model, rows, n_workers=n_workers, engine=engine, epochs=50)


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("algorithm", [MiniBatch(), SimuParallel()], ids=lambda algorithm: algorithm.name)
def test_parameters_that_the_last_step_drives_out_of_the_finite_numbers_are_an_error(algorithm, n_workers):
    # the loss before that step was a finite number
    X, y = unit_rows(20, N_FEATURES), np.full((20, 1), 1e9)
    narrow = Network((N_FEATURES, 1), loss="squared_error", solver="sgd", eta0=1e300, batch_size=20)
    for model, rows in ((narrow, rows_of(X, y)), (linear(eta0=1e300, batch_size=20)[0], rows_of(X, y[:, 0]))):
        with pytest.raises(DivergedError, match=r"epoch #1.*became NaN or infinite in round 0"):
            train(model, rows, algorithm, n_workers=n_workers, epochs=1)


def test_it_keeps_the_promises_of_an_algorithm():
    check_algorithm(MiniBatch())
    check_algorithm(MiniBatch(5))
