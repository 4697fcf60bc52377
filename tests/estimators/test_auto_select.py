"""What n_jobs=None, algorithm="auto" and engine="auto" stand for, and what is said about it."""

import re
from dataclasses import replace

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from parsgd import LocalSGD, SGDClassifier, SGDRegressor, Simulated, SimuParallel, WeightedAverage
from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.core import EngineDefaults
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InvalidArgumentError
from parsgd.estimators import auto_select
from parsgd.estimators.auto_select import choose_algorithm, choose_engine, choose_parts, count_workers
from parsgd.estimators.cost_estimates import adaptive_rounds, costs_on, plain_rounds, rounds_of
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.estimators.network.network_size import NetworkSize
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(100, 5)
Y = labels(X)
SMALL = LinearSize(n_rows=1_000, n_values=10_000, n_features=10, n_outputs=1)
LARGE = LinearSize(n_rows=1_000_000, n_values=50_000_000, n_features=50, n_outputs=1)
WIDE = LinearSize(n_rows=20_000, n_values=2_000_000_000, n_features=100_000, n_outputs=1)
# averages of so many weights take longer than a second worker saves
DEAR = LinearSize(n_rows=24_395, n_values=24_395 * 118, n_features=2_000_000, n_outputs=1, sparse=True)
QUICK = {"max_iter": 2, "tol": None, "random_state": 0}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(auto_select.joblib, "cpu_count", lambda: 4)


def workers(n_jobs, size):
    return count_workers(n_jobs, size, "SGDClassifier")


# -- n_jobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(SMALL, 1), (LARGE, 4), (WIDE, 4), (DEAR, 1)])
def test_none_means_as_many_workers_as_pay(size, count):
    number, why = workers(None, size)
    assert number == count
    assert why


def test_none_gives_no_worker_less_than_its_worth_of_work():
    medium = LinearSize(100_000, 3_000_000, 30, 1)
    number, _ = workers(None, medium)
    assert 1 <= number < 4
    assert medium.epoch_seconds / number >= 2e-3


@pytest.mark.parametrize("n_jobs", [1, 2, 7])
@pytest.mark.parametrize("size", [SMALL, LARGE, WIDE])
def test_a_positive_number_is_obeyed(n_jobs, size):
    assert workers(n_jobs, size) == (n_jobs, f"n_jobs={n_jobs}")


@pytest.mark.parametrize(("n_jobs", "most"), [(-1, 4), (-2, 3), (-4, 1), (-9, 1)])
def test_a_negative_number_counts_from_the_cores_and_is_a_limit(n_jobs, most):
    assert workers(n_jobs, LARGE)[0] == most
    assert workers(n_jobs, SMALL)[0] == 1


def test_no_workers_are_refused():
    with pytest.raises(
        InvalidArgumentError, match="must not be 0: 1 is serial, -1 uses up to all cores, None is automatic"
    ):
        SGDClassifier(n_jobs=0).fit(X, Y)


@pytest.mark.parametrize(("configured", "most"), [(1, 1), (2, 2), (64, 4), (-1, 4), (-2, 3)])
def test_joblibs_configuration_is_a_limit_too_unless_the_estimator_has_a_number(configured, most):
    with joblib.parallel_config(n_jobs=configured):
        assert workers(None, LARGE)[0] == most
        assert workers(None, SMALL)[0] == 1
        assert workers(3, SMALL)[0] == 3
        assert workers(-1, LARGE)[0] == 4


def test_sparse_rows_cost_more_a_value_and_outputs_share_the_reading():
    dense, sparse = (LinearSize(1000, 50_000, 100, 1, layout).epoch_seconds for layout in (False, True))
    assert dense < sparse
    one, many = (LinearSize(1000, 50_000, 100, outputs).epoch_seconds for outputs in (1, 17))
    assert one < many < 17 * one


# -- algorithm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_workers", "after"), [(2, 2), (4, 2), (5, 3), (64, 3)])
def test_linear_models_are_averaged_less_often_after_some_passes_and_networks_are_not(n_workers, after):
    elsewhere = Simulated(rate=1e6)
    choice = choose_algorithm("auto", n_workers, "", LARGE, "SGDClassifier", elsewhere)
    assert choice.algorithm.lengthen_after_epochs == after
    assert f"less often after {after} passes" in choice.why
    network = NetworkSize(1_000_000, 50_000_000, (50, 20, 2), 64, 2)
    averaged = choose_algorithm("auto", n_workers, "", network, "MLPClassifier", elsewhere).algorithm
    assert averaged.lengthen_after_epochs is None
    # merges in compiled code cost little
    assert choose_algorithm("auto", n_workers, "", LARGE, "SGDClassifier").algorithm.lengthen_after_epochs is None


def test_one_worker_is_serial_sgd_and_says_so():
    choice = SGDClassifier(n_jobs=1, **QUICK).fit(X, Y).algorithm_
    assert (choice.name, choice.n_workers) == ("serial", 1)
    assert str(choice) == "serial on 1 worker: serial SGD (n_jobs=1)"


def test_where_averages_cost_more_than_workers_save_it_says_so():
    assert re.search(r"takes about .* ms on one core, and .* ms with \d workers", workers(None, DEAR)[1])


def test_an_engine_with_a_clock_of_its_own_is_asked_what_rounds_cost():
    free, dear = Simulated(rate=1e6), Simulated(rate=1e6, latency_s=0.05)
    often, seldom = (choose_algorithm("auto", 8, "", LARGE, "SGDClassifier", engine) for engine in (free, dear))
    assert often.algorithm.sync_every == pytest.approx(0.1)
    assert often.algorithm.outer_optimizer == Adaptive(LARGE.n_probe_rows)
    assert seldom.algorithm.sync_every > 0.1
    far = choose_algorithm("auto", 8, "", LARGE, "SGDClassifier", Simulated(rate=1e6, latency_s=1.0))
    assert far.name == "simuparallel"


def test_workers_of_a_network_average_the_more_often_the_more_they_are():
    network = NetworkSize(60_000, 60_000 * 784, (784, 256, 128, 10), 64, 2)
    periods = [
        choose_algorithm("auto", n, "", network, "MLPClassifier", Simulated()).algorithm.sync_every for n in (2, 8, 64)
    ]
    assert periods == pytest.approx([0.1, 0.025, 0.01])


@pytest.mark.parametrize(("n_rows", "rounds"), [(1_000, 5), (30_000, 5), (1_000_000, 10)])
def test_the_threads_of_a_small_network_average_less_often(n_rows, rounds):
    network = NetworkSize(n_rows, n_rows * 100, (100, 32, 10), 32, 2)
    assert adaptive_rounds(network, 2) == rounds
    part = choose_algorithm("auto", 2, "", network, "MLPClassifier").algorithm
    assert part.sync_every == pytest.approx(1.0 / rounds)


@given(st.integers(1_000, 10**8), st.booleans())
def test_threads_make_steps_of_ten_milliseconds_between_plain_means(n_rows, sparse):
    size = LinearSize(n_rows, 50 * n_rows, 1_000, 1, sparse, adagrad=True)
    rounds = plain_rounds(size, 2)
    assert rounds == 1 or size.epoch_seconds / 2 / rounds >= 0.01


def test_several_workers_average_as_often_as_stays_cheap():
    slow = Simulated(rate=1e6, latency_s=1e-4)
    often, seldom = (choose_algorithm("auto", 4, "n_jobs=4", size, "SGDClassifier", slow) for size in (LARGE, SMALL))
    assert often.name == "local"
    assert 0.1 <= often.algorithm.sync_every < 1.0
    assert seldom.name == "simuparallel" or seldom.algorithm.sync_every > often.algorithm.sync_every
    assert "average" in often.why
    assert "average" in seldom.why


@pytest.mark.parametrize("engine", [None, Threads(), Serial()])
def test_auto_takes_no_more_threads_than_pay_whatever_n_jobs_is(engine):
    def choice(size, n_jobs):
        return choose_parts(SGDClassifier(n_jobs=n_jobs, engine=engine or "auto"), size)[0]

    for n_jobs in (2, 3, 64):
        assert choice(SMALL, n_jobs).n_workers == 1
        assert choice(LARGE, n_jobs).n_workers > 1
    # the number of cores, four here, does not matter
    assert choice(LARGE, 8).n_workers == 8


def test_two_threads_on_wide_sparse_data_average_without_adaptive_steps():
    wide = LinearSize(n_rows=100_000, n_values=20_000_000, n_features=200_000, n_outputs=1, sparse=True)
    part = choose_algorithm("auto", 2, "", wide, "SGDClassifier").algorithm
    assert (part.outer_optimizer, part.sync_every) == ("mean", 1.0 / plain_rounds(wide, 2))
    assert 0.1 < part.sync_every < 1.0
    few = replace(wide, n_rows=30_000, n_values=20_000_000)
    assert choose_algorithm("auto", 2, "", few, "SGDClassifier").algorithm.outer_optimizer != "mean"
    assert choose_algorithm("auto", 8, "", wide, "SGDClassifier").algorithm.outer_optimizer != "mean"


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_workers", [2, 8])
@pytest.mark.parametrize("engine", [None, Simulated()])
def test_with_adagrad_workers_average_at_the_root_of_their_number_times_the_rate(n_workers, sparse, engine):
    size = LinearSize(n_rows=100_000, n_values=5_400_000, n_features=54, n_outputs=1, sparse=sparse, adagrad=True)
    choice = choose_algorithm("auto", n_workers, "", size, "SGDClassifier", engine)
    assert (choice.algorithm.outer_optimizer, choice.algorithm.rule) == ("mean", "uniform")
    words = replace(size, n_features=1_000_000)
    rule = "coordinate" if sparse and n_workers > 2 else "uniform"
    assert choose_algorithm("auto", n_workers, "", words, "SGDClassifier", engine).algorithm.rule == rule
    assert choice.rate_factor == n_workers**0.5
    for other in (replace(size, adagrad=False), replace(size, sparse=True, adagrad=False)):
        assert choose_algorithm("auto", n_workers, "", other, "SGDClassifier", engine).rate_factor == 1.0
    assert choose_algorithm("auto", 1, "", size, "SGDClassifier", engine).rate_factor == 1.0
    assert choose_algorithm("local", n_workers, "", size, "SGDClassifier", engine).rate_factor == 1.0


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("n_jobs", [2, 4])
def test_with_adagrad_several_workers_make_the_progress_of_one(layout, n_jobs, monkeypatch):
    # as many workers as asked for, although the rows are few
    monkeypatch.setattr(auto_select, "count_workers", lambda n_jobs, *_: (n_jobs, "asked for"))
    X = unit_rows(8000, 20, layout=layout)
    y = labels(X)
    settings = {"learning_rate": "adagrad", "eta0": 0.02, "alpha": 1e-6, "max_iter": 2, "tol": None, "random_state": 0}
    one, several = (
        SGDClassifier("log_loss", n_jobs=n, engine=engine, **settings).fit(X, y)
        for n, engine in ((1, "auto"), (n_jobs, Serial()))
    )
    assert several.algorithm_.n_workers == n_jobs

    def loss(model):
        return log_loss(y, model.predict_proba(X))

    same_rate = SGDClassifier("log_loss", n_jobs=n_jobs, engine=Serial(), algorithm="local", **settings).fit(X, y)
    start = np.log(2.0)
    assert abs(loss(several) - loss(one)) < 0.05 * (start - loss(one))
    assert loss(same_rate) - loss(one) > 0.1 * (start - loss(one))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 20), st.integers(2, 8), st.booleans())
def test_plain_means_stay_cheap_or_come_once_per_pass(n_rows, n_features, n_outputs, n_workers, adagrad):
    size = LinearSize(n_rows, 10 * n_rows, n_features, n_outputs, sparse=True, adagrad=adagrad)
    rounds = plain_rounds(size, n_workers)
    assert 1 <= rounds <= size.rounds(n_workers)[0]
    assert rounds == 1 or rounds * size.compiled_merge_seconds <= 0.1 * size.epoch_seconds / n_workers


def test_a_pass_with_adagrad_is_predicted_to_take_longer_and_longest_with_a_penalty():
    for sparse, outputs in ((False, 1), (False, 5), (True, 1), (True, 5)):
        usual = LinearSize(1000, 50_000, 50, outputs, sparse)
        free, penalized = (
            replace(usual, adagrad=True, penalized=penalized).epoch_seconds for penalized in (False, True)
        )
        assert usual.epoch_seconds < free < penalized


@pytest.mark.parametrize(
    ("name", "kind"), [("simuparallel", SimuParallel), ("weighted", WeightedAverage), ("local", LocalSGD)]
)
def test_a_name_brings_its_algorithm_with_default_settings(name, kind):
    choice = SGDRegressor(algorithm=name, n_jobs=2, **QUICK).fit(X, targets(X)).algorithm_
    assert (choice.name, choice.why, choice.algorithm) == (name, "asked for", kind())


def test_an_object_is_taken_as_it_is():
    algorithm = LocalSGD(sync_every=0.25, rule="wp")
    model = SGDClassifier(algorithm=algorithm, n_jobs=2, **QUICK).fit(X, Y)
    assert model.algorithm_.algorithm is algorithm
    assert len(model.history_) == 8


# -- engine --------------------------------------------------------------------------------------------------------


def test_auto_is_serial_for_one_worker_and_threads_for_more():
    assert isinstance(choose_engine("auto", 1, "SGDClassifier"), Serial)
    assert isinstance(choose_engine("auto", 2, "SGDClassifier"), Threads)
    assert isinstance(choose_engine("serial", 2, "SGDClassifier"), Serial)
    mine = Threads()
    assert choose_engine(mine, 1, "SGDClassifier") is mine


def test_a_fit_says_how_it_ended_in_a_sentence():
    model = SGDClassifier(n_jobs=1, **QUICK).fit(X, Y)
    assert model.outcome_.value.endswith(".")
    assert np.isfinite(model.history_[-1]["loss"])


def test_a_network_takes_a_second_worker_where_averages_are_cheap_beside_a_pass(monkeypatch):
    monkeypatch.setattr(auto_select.joblib, "cpu_count", lambda: 2)
    # rows, stored values, layers, batch and slots of California housing and of Fashion-MNIST in studies/networks.py
    small = NetworkSize(16_512, 16_512 * 13, (13, 64, 32, 1), 64, 2)
    large = NetworkSize(60_000, 60_000 * 784, (784, 256, 128, 10), 64, 2)
    n_workers, why = auto_select.count_workers(None, small, "MLPRegressor")
    assert (n_workers, "ms with 2 workers" in why) == (1, True)
    assert auto_select.count_workers(None, large, "MLPClassifier")[0] == 2
    few_steps = NetworkSize(60_000, 60_000 * 784, (784, 256, 128, 10), 4_000, 2)
    assert "steps per pass" in auto_select.count_workers(None, few_steps, "MLPClassifier")[1]


class Elsewhere(EngineDefaults):
    """An engine whose messages take time."""

    name, capabilities = "elsewhere", frozenset()

    def __init__(self, latency_s, bytes_per_s):
        self.costs_of_messages = latency_s, bytes_per_s

    def message_costs(self, n_parameters):
        return self.costs_of_messages


def test_an_engine_whose_messages_are_dear_gets_fewer_averages_and_one_whose_are_too_dear_fewer_workers():
    size = LinearSize(10**6, 10**8, 100, 1)
    near, far, nowhere = (Elsewhere(latency_s, 1e9) for latency_s in (1e-5, 5e-4, 10.0))
    costs = costs_on(far, size, 2)
    assert (costs.latency_s, costs.bandwidth_bytes_per_s, costs.state_bytes) == (5e-4, 1e9, 808)
    assert not costs.on_threads(2)
    assert rounds_of(costs_on(near, size, 2), 2, size) >= rounds_of(costs, 2, size)
    assert "one average at the end" in choose_algorithm("auto", 2, "", size, "SGDClassifier", nowhere).why
    assert count_workers(None, size, "SGDClassifier", True, nowhere)[0] == 1
