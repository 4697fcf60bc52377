"""``plan``: rehearse, predict, recommend.  Rehearsed in full, nothing but times depends on the machine."""

import math
import signal
import threading
from dataclasses import replace

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import parsgd
from parsgd import MLPClassifier, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor, Simulated
from parsgd.errors import DivergedError, InvalidArgumentError
from parsgd.planning import measure_costs, planner
from parsgd.planning.measure_costs import FitTime
from parsgd.planning.trials import trial_runs, trial_schedule
from parsgd.planning.trials.heldout import ObservedFit
from parsgd.planning.trials.trial_runs import reached

ROW_S, STATE_BYTES = 1e-5, 40


@pytest.fixture
def fixed(monkeypatch):
    """Costs that do not depend on the machine, of one with two cores, and merges that take no time."""
    monkeypatch.setattr(joblib, "cpu_count", lambda *_, **__: 2)
    monkeypatch.setattr(measure_costs, "seconds_per_row", lambda *_: (ROW_S, STATE_BYTES))
    monkeypatch.setattr(
        measure_costs,
        "time_fits",
        lambda estimator, sample, strategies, row_s, seconds: {
            case: FitTime(0.0, row_s / (case.n_workers if case else 1)) for case in (None, *strategies)
        },
    )
    real = trial_runs.run_trial

    def untimed(*arguments):
        run = real(*arguments)
        return run and replace(run, combine_s=0.0)

    monkeypatch.setattr(trial_schedule, "run_trial", untimed)


def rows(n=600, kinds=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 5))
    return X, np.digitize(X @ rng.standard_normal(5) + 0.3 * rng.standard_normal(n), np.linspace(-1, 1, kinds - 1))


def model(**settings):
    return SGDClassifier(**dict(dict(loss="log_loss", alpha=0.01, max_iter=4, tol=None, random_state=0), **settings))


def planned(estimator=None, n_workers=(1, 2, 8), data=None, **settings):
    X, y = rows() if data is None else data
    return parsgd.plan(estimator or model(), X, y, n_workers, **{"seconds": math.inf, **settings})


def told(plan):
    """All that is in a plan but what planning itself took."""
    return [repr(cell) for cell in plan.cells], plan.best, plan.why, plan.noise, plan.spread, plan.goal, plan.passes


def test_a_plan_repeats_and_does_not_change_the_estimator(fixed):
    estimator = model(n_jobs=3, verbose=1)
    before = estimator.get_params()
    assert told(planned(estimator, (1, 8))) == told(planned(estimator, (1, 8)))
    assert estimator.get_params() == before
    assert not hasattr(estimator, "coef_")


def test_a_generator_given_as_random_state_is_left_as_it_is(fixed):
    random = np.random.RandomState(5)
    before = random.get_state()[1].tolist()
    planned(model(random_state=random), (1, 4))
    assert random.get_state()[1].tolist() == before


def test_every_number_of_workers_is_there_and_the_first_cell_is_serial(fixed):
    plan = planned(n_workers=[8, 2, 8])
    assert plan.cells[0].n_workers == 1
    assert plan.cells[0].speedup == 1.0
    assert {cell.n_workers: cell.engine for cell in plan.cells} == {1: "serial", 2: "threads", 8: "simulated"}
    assert all(cell.basis in ("rehearsed", "undecided") for cell in plan.cells)
    assert planned(n_workers=2).cells[-1].n_workers == 2


def test_predicted_passes_are_those_of_a_fit_on_the_same_rows(fixed):
    """The rehearsal is the fit: an estimator with the cell's parameters comes to the goal where the plan says."""
    plan = planned(n_workers=(1, 8))
    cell = next(cell for cell in plan.cells if cell.label == "local, 10 a pass")
    random, seeds = planner.samples.seeds_of(model(), 3)
    sample = planner.samples.draw(model(), *rows(), random)
    watched = ObservedFit(cell.algorithm, Simulated(), sample.loss)
    runs = []
    for seed in seeds:
        fitted = model(max_iter=8, random_state=seed, n_jobs=8).set_params(algorithm=watched, engine=watched)
        fitted.fit(sample.X, sample.y)
        runs.append(reached(watched.curve, plan.goal))
    # the plan's runs end sooner, and what comes later has a part in where a noisy curve was
    assert cell.passes == pytest.approx(len(runs) / sum(1 / run for run in runs), rel=0.15)


def test_the_best_cell_is_the_fastest_or_nearly_so_with_fewer_workers(fixed):
    plan = planned(n_workers=(1, 2, 8))
    times = [cell.seconds for cell in plan.cells if cell.is_known]
    assert plan.best.seconds <= 1.05 * min(times)
    assert plan.best_here.n_workers <= 2
    fitted = clone(model()).set_params(**plan.best.parameters, engine=Simulated()).fit(*rows())
    assert len(fitted.history_[0]["workers"]) == plan.best.n_workers


def test_where_talk_is_dear_more_workers_do_not_help(fixed):
    plan = planned(n_workers=(1, 8), latency_s=10.0)
    assert plan.best.n_workers == 1
    assert plan.why.startswith("More workers will not help: with 8 (")
    assert "a round costs 20 s" in plan.why


def test_where_talk_is_free_more_workers_do(fixed):
    plan = planned(n_workers=(1, 8))
    assert plan.best.n_workers == 8
    assert plan.best.seconds < plan.cells[0].seconds / 2
    assert plan.why.startswith("Take 8 workers with ")


def test_messages_take_time_by_their_size(fixed):
    free, slow = planned(n_workers=8), planned(n_workers=8, bandwidth_bytes_per_s=4e3, merge_s=0.002)
    for one, other in zip(free.cells[1:], slow.cells[1:], strict=True):
        assert one.passes == other.passes
        if one.reaches:
            # 40 bytes there and back, and 8 reports of 2 ms
            assert other.round_s == pytest.approx(2 * 0.01 + 8 * 0.002)
            assert other.seconds == pytest.approx(one.seconds + one.rounds * other.round_s)


def test_the_goal_is_the_serial_loss_and_the_tolerance(fixed):
    exact, loose = planned(n_workers=1, tolerance=0.0), planned(n_workers=1, tolerance=0.1)
    assert loose.goal == pytest.approx(1.1 * exact.goal)
    assert loose.cells[0].passes <= exact.cells[0].passes <= 4.0
    assert exact.why == "More workers will not help: no other number was requested."


def test_passes_are_those_of_the_rule_of_stopping_where_there_is_one(fixed):
    estimator = SGDClassifier("log_loss", alpha=0.01, random_state=0)
    plan = planned(estimator, n_workers=(1, 4))
    assert 5 <= plan.passes < 1000
    assert plan.passes == round(plan.passes)
    assert not plan.notes


@pytest.mark.parametrize(
    "kind", ["regressor", "sparse", "softmax", "words", "network", "network of numbers", "batches"]
)
def test_all_kinds_of_estimators_and_data(fixed, kind):
    X, y = rows(400, 3 if kind == "softmax" else 2)
    numbers = X @ np.arange(5.0)
    network = dict(hidden_layer_sizes=(4,), max_iter=2, batch_size=32, tol=0.0, random_state=0)
    estimator, data = {
        "regressor": (SGDRegressor(max_iter=3, tol=None, random_state=0), (X, numbers)),
        "sparse": (model(), (sparse.csr_matrix(X), y)),
        "softmax": (model(loss="softmax"), (X, y)),
        "words": (model(), (X, np.array(["no", "yes"])[y % 2])),
        "network": (MLPClassifier(**network), (X, y)),
        "network of numbers": (MLPRegressor(**network), (X, np.stack([numbers, -numbers], axis=1))),
        "batches": (model(batch_size=16), (X, y)),
    }[kind]
    plan = planned(estimator, (1, 2), data)
    labels = {cell.label for cell in plan.cells}
    assert plan.cells[0].reaches
    assert plan.noise.variance > 0.0
    assert ("hogwild" in labels) == (kind == "sparse")
    assert ("minibatch" in labels) == (kind in ("network", "network of numbers", "batches"))
    assert ("simuparallel" in labels) == ("network" not in kind)


def test_algorithms_that_the_model_does_not_support_are_left_out(fixed):
    X, y = rows(400)
    plan = planned(model(learning_rate="adagrad", eta0=0.1), (1, 2), (sparse.csr_matrix(X), y))
    labels = {cell.label for cell in plan.cells}
    assert "local, 10 a pass" in labels
    assert "hogwild" not in labels


def test_one_shot_averages_are_taken_apart_where_there_are_some(fixed):
    assert planned(n_workers=(1, 4)).spread.n_workers == 4
    network = MLPClassifier((3,), max_iter=2, batch_size=32, tol=0.0, random_state=0)
    assert planned(network, (1, 2)).spread is None


def test_a_table_and_a_sentence(fixed):
    plan = planned(n_workers=(1, 2))
    text = str(plan)
    assert text.endswith(plan.why)
    for fact in ("workers", "algorithm", "speed-up", "serial", "simuparallel", "goal: loss", "noise scale", "bias"):
        assert fact in text
    frame = plan.to_frame()
    assert frame["n_workers"].tolist() == [cell.n_workers for cell in plan.cells]
    assert frame["speedup"][0] == 1.0


def test_with_little_time_the_beginning_is_rehearsed_and_said_to_be(fixed, monkeypatch):
    monkeypatch.setattr(planner.trial_budget, "_LEAST_ROWS", 200)
    plan = planned(model(max_iter=500), (1, 2, 4), seconds=0.05)
    assert {cell.basis for cell in plan.cells} <= {"begun", "no time", "others", "undecided"}
    assert not any(cell.seconds == math.inf for cell in plan.cells)
    assert plan.cells[0].basis == "begun"
    assert plan.passes == 500
    # carried over to the whole fit
    assert 50 < plan.cells[0].passes <= 500


def test_what_there_was_no_time_for_is_said(fixed):
    plan = planned(n_workers=(1, 64), seconds=1e-3)
    assert any(cell.basis == "no time" and cell.seconds is None for cell in plan.cells)
    assert any("did not fit into" in note for note in plan.notes)
    assert plan.best.n_workers == 1
    assert "not known" in str(plan)
    assert plan.why.startswith("It is not known if more workers help: ")


@pytest.mark.parametrize("eta0", [10.0, 1e300], ids=["in finite numbers", "out of them"])
def test_a_serial_run_that_diverges_is_an_error(fixed, eta0):
    X, y = rows()
    estimator = SGDRegressor(learning_rate="constant", eta0=eta0, max_iter=3, tol=None, random_state=0)
    with pytest.raises(DivergedError, match="serial SGD"):
        planned(estimator, data=(X, y.astype(float)))


def test_ways_that_diverge_are_never_there(fixed, monkeypatch):
    def diverging(*_, **__):
        raise DivergedError("gone")

    original = measure_costs.run
    monkeypatch.setattr(
        measure_costs, "run", lambda e, s, w, n, p, **k: (diverging if n > 1 else original)(e, s, w, n, p, **k)
    )
    plan = planned(n_workers=(1, 4))
    assert all(cell.seconds == math.inf for cell in plan.cells[1:])
    assert plan.why == "More workers will not help: no algorithm reaches serial SGD's loss within twice its " + (
        f"{plan.cells[0].passes:.2g} passes."
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(n_workers=()), "'n_workers'"),
        (dict(n_workers="2"), "'n_workers'"),
        (dict(n_workers=(1, 0)), "'n_workers'"),
        (dict(n_workers=2.5), "'n_workers'"),
        (dict(latency_s=-1.0), "'latency_s'"),
        (dict(bandwidth_bytes_per_s=0), "'bandwidth_bytes_per_s'"),
        (dict(merge_s=math.nan), "'merge_s'"),
        (dict(tolerance="1%"), "'tolerance'"),
        (dict(seconds=0), "'seconds'"),
        (dict(estimator=SGDOneClassSVM()), "SGDOneClassSVM has none"),
        (dict(estimator=MLPClassifier(solver="lbfgs")), "lbfgs"),
        (dict(estimator="sgd"), "'estimator'"),
        (dict(estimator=SGDClassifier(alpha=-1.0)), "'alpha'"),
        (dict(data=rows(20)), "50 rows"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_used_is_refused_and_named(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        planned(**settings)


def test_rare_classes_are_among_the_rows_to_train_on():
    X, y = rows(300)
    y[17] = 2
    for seed in range(5):
        sample = planner.samples.draw(model(), X, y, np.random.RandomState(seed))
        assert set(sample.first(100).y) == set(sample.y) == {0, 1, 2}
        assert len(sample.first(100).y) <= 103


def test_no_row_is_both_trained_on_and_looked_at():
    X, y = rows(300)
    sample = planner.samples.draw(model(), X, y, np.random.RandomState(0))
    both = np.vstack([sample.X, sample.loss.x])
    assert len(np.unique(both, axis=0)) == len(both) == 300
    assert sample.share == 1.0


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")
def test_ctrl_c_ends_it(fixed):
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            planned(model(max_iter=3000), (1, 64), data=rows(5000))
    finally:
        timer.join()


def test_bounds_enclose_passes_and_times(fixed):
    plan = planned(n_workers=(1, 2, 8))
    there = [cell for cell in plan.cells if cell.reaches]
    assert len(there) > 3
    for cell in there:
        assert cell.low <= cell.seconds <= cell.high
        assert cell.passes_low <= cell.passes <= cell.passes_high
    assert any(cell.low < cell.high for cell in there)
    assert next(iter(plan.to_frame()["low"])) == plan.cells[0].low


@pytest.mark.alone
def test_a_plan_of_the_machine_predicts_every_kind_of_candidate():
    """With real timings, threads and a cluster; what is unknown has a reason."""
    plan = planned(n_workers=(1, 2, 8), data=rows(3000), seconds=3.0)
    assert plan.cells[0].reaches
    assert {cell.n_workers for cell in plan.cells if cell.reaches} == {1, 2, 8}
    for cell in plan.cells:
        assert cell.reaches or cell.seconds == math.inf or cell.basis in ("undecided", "others", "no time")
        assert not cell.reaches or cell.low <= cell.seconds <= cell.high
    assert set(plan.costs.contention) == {2}
