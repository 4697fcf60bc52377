"""Workers of unequal speed: who does less counts less.  Time is made up, so that no test depends on the machine."""

from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic

from parsgd import LocalSGD, SGDClassifier, SimuParallel, WeightedAverage
from parsgd.algorithms.common import worker_loop
from parsgd.core import Budget, EngineDefaults, FitState, Report
from parsgd.engines.serial import Serial
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.models.linear.linear_model import Linear
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(384, 6)  # a whole number of calls of 16 rows for each of 2 workers
Y = labels(X)


class MadeUpTime:
    """A clock that moves by 1/1024 s whenever it is looked at, and by what is slept."""

    TICK = 2.0**-10

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += self.TICK
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def made_up_time(monkeypatch):
    """A call into compiled code takes one tick, for 16 rows."""
    schedule_step = MadeUpTime()
    monkeypatch.setattr(worker_loop, "time", schedule_step)
    monkeypatch.setattr(worker_loop, "_CHUNK_SECONDS", MadeUpTime.TICK)
    monkeypatch.setattr(worker_loop, "_FIRST_CHUNK_VALUES", 16 * 6)
    return schedule_step


def fit(algorithm, factors, **settings):
    settings = {"alpha": 0.01, "max_iter": 40, "tol": None, "random_state": 0, "n_jobs": 2, **settings}
    return SGDClassifier("log_loss", algorithm=algorithm, engine=slow_down(factors, "serial"), **settings).fit(X, Y)


def steps_and_weights(history_entry):
    workers = history_entry["workers"]
    return [w["steps"] for w in workers], [w["weight"] for w in workers]


@pytest.mark.parametrize("rule", ["steps", "wp", "measured"])
def test_a_slow_worker_makes_fewer_steps_and_weighs_less_in_one_shot(made_up_time, rule):
    model = fit(WeightedAverage(rule=rule, seconds=64 * MadeUpTime.TICK), {0: 4.0})
    (slow, fast), (light, heavy) = steps_and_weights(model.history_[0])
    assert 0 < slow < fast
    assert 0.0 < light < heavy
    np.testing.assert_allclose(light + heavy, 1.0)
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize("rule", [None, "steps", "wp"])
def test_a_slow_worker_makes_fewer_steps_and_weighs_less_in_every_round(made_up_time, rule):
    model = fit(LocalSGD(seconds=32 * MadeUpTime.TICK, rule=rule), {1: 4.0}, max_iter=5)
    assert len(model.history_) > 1
    for entry in model.history_[:-1]:
        (fast, slow), (heavy, light) = steps_and_weights(entry)
        assert slow < fast
        assert light < heavy


def test_by_steps_weights_are_the_shares_of_the_steps(made_up_time):
    model = fit(WeightedAverage(rule="steps", seconds=64 * MadeUpTime.TICK), {0: 4.0})
    steps, weights = steps_and_weights(model.history_[0])
    np.testing.assert_allclose(weights, np.array(steps) / sum(steps))


@pytest.mark.parametrize(
    "algorithm", [SimuParallel(seconds=0.1), WeightedAverage(rule="uniform", seconds=0.1)], ids=repr
)
def test_uniform_rules_ignore_how_much_was_done(made_up_time, algorithm):
    steps, weights = steps_and_weights(fit(algorithm, {0: 4.0}).history_[0])
    assert steps[0] < steps[1]
    assert weights == [0.5, 0.5]


def test_workers_of_equal_speed_count_alike(made_up_time):
    steps, weights = steps_and_weights(fit(WeightedAverage(seconds=0.1), {}).history_[0])
    assert steps[0] == steps[1]
    assert weights == [0.5, 0.5]


def test_a_slow_worker_with_a_budget_of_examples_does_all_the_same(made_up_time):
    even, slowed = (fit(LocalSGD(), factors, max_iter=3) for factors in ({}, {0: 9.0}))
    assert even.coef_.tobytes() == slowed.coef_.tobytes()
    workers = slowed.history_[0]["workers"]
    assert workers[0]["seconds"] > workers[1]["seconds"]


def test_a_fit_that_used_up_its_time_says_so(made_up_time):
    assert fit(WeightedAverage(seconds=64 * MadeUpTime.TICK), {0: 4.0}).outcome_ is Outcome.OUT_OF_TIME
    assert fit(WeightedAverage(seconds=1e9), {0: 4.0}).outcome_ is Outcome.MAX_EPOCHS


@pytest.mark.parametrize("factor", [0.5, -1.0, 0.0, float("nan")])
def test_workers_cannot_be_sped_up(factor):
    with pytest.raises(InvalidArgumentError, match="'factors' of slow_down must be at least 1"):
        slow_down({0: factor})


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_the_measured_contraction_lies_between_zero_and_one_and_is_no_weaker_than_the_bound(alpha):
    problem = logistic(600, 5, alpha=alpha)
    logs = {}

    class Remembers(WeightedAverage):
        def merge(self, standing, reports):
            logs[self.rule] = [report.log_contraction / report.steps for report in reports]
            return super().merge(standing, reports)

    for rule in ("measured", "wp"):
        SGDClassifier(
            "log_loss",
            alpha=alpha,
            learning_rate="constant",
            eta0=0.1,
            max_iter=2,
            tol=None,
            n_jobs=2,
            random_state=0,
            algorithm=Remembers(rule=rule),
        ).fit(problem.X, problem.y)
    for measured, bound in zip(logs["measured"], logs["wp"], strict=True):
        assert 0.0 < np.exp(measured) < 1.0
        np.testing.assert_allclose(np.exp(bound), 1.0 - 0.1 * alpha)
        # curvature of the loss pulls together what the penalty alone would leave apart; the intercept has no penalty
        assert measured < 0.2 * bound


def test_where_steps_drive_runs_apart_the_measured_rule_weighs_alike():
    model = WeightedAverage(rule="measured")
    reports = [
        Report(w, 0, np.zeros(2), steps, steps, np.zeros(1), np.zeros(1), 1.0, 1.0, np.ones(1), 0.01 * steps)
        for w, steps in enumerate((100, 400))
    ]
    standing = FitState(Linear(1), np.zeros(2))
    np.testing.assert_allclose(model.weights(standing, reports), 0.5)


class DoesAQuarter(EngineDefaults):
    """An engine whose first worker does a quarter of its work."""

    name, capabilities = "quarter", frozenset()

    def open(self, work, shards, pulse):
        def less(shard, task, pulse):
            share = 4 if task.worker == 0 else 1
            return work(shard, replace(task, budget=Budget(task.budget.examples // share)), pulse)

        return Serial().open(less, shards, pulse)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_mean_that_has_not_begun_is_merged_as_the_point_where_its_worker_stands(n_classes):
    # 192 steps of one worker, 768 of the other; the mean begins between them
    settings = {"algorithm": SimuParallel(), "engine": DoesAQuarter(), "n_jobs": 2, "max_iter": 4, "tol": None}
    settings |= {"alpha": 0.01, "random_state": 0}
    y = labels(X, n_classes)
    averaged, last = (SGDClassifier("log_loss", average=average, **settings).fit(X, y) for average in (400, False))
    steps, _ = steps_and_weights(averaged.history_[0])
    assert steps == [192, 768]
    assert averaged.t_ - 1.0 > 400
    # nothing was merged with a mean of zeros
    np.testing.assert_allclose(np.linalg.norm(averaged.coef_), np.linalg.norm(last.coef_), rtol=0.1)
    np.testing.assert_allclose(averaged.intercept_, last.intercept_, atol=0.2)


def test_workers_that_draw_from_all_rows_draw_as_many_as_they_would_own_and_not_all():
    settings = {"max_iter": 1, "tol": None, "n_jobs": 2, "random_state": 0}
    model = SGDClassifier("log_loss", algorithm=SimuParallel(partition="replicated"), **settings).fit(X, Y)
    assert [w["examples"] for w in model.history_[0]["workers"]] == [192, 192]
    owned = SGDClassifier("log_loss", algorithm=SimuParallel(), **settings).fit(X, Y)
    assert not np.array_equal(model.coef_, owned.coef_)
    for fitted in (model, owned):
        assert fitted.score(X, Y) > 0.8


def test_drawing_from_all_rows_differs_between_workers_and_epochs():
    from parsgd.data.sources.array_source import ArraySource
    from parsgd.utils.row_arrays import rows_of

    first, second = ArraySource(rows_of(X, Y.astype(float))).split(2, 0, "replicated")
    orders = [
        tuple(next(iter(shard.blocks(seed, epoch))).order)
        for shard, seed, epoch in [(first, 1, 0), (first, 1, 1), (second, 2, 0)]
    ]
    assert len(set(orders)) == 3
    assert len(set(orders[0])) < len(orders[0])  # with replacement
