"""Rounds of local SGD: how long they are, who is late, who gets which rows.  Times are simulated ones."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd import LocalSGD, SGDClassifier, Simulated
from parsgd.algorithms import local_sgd
from parsgd.algorithms.common.round_schedule import deadline
from parsgd.algorithms.merging.merge_rules import RULES
from parsgd.core import EngineDefaults, TaskFailed
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial, SerialWorkerPool
from parsgd.errors import InvalidArgumentError, Outcome, WorkersLostError
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm, slow_down
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

X = unit_rows(1200, 6)
SIGNS = 2.0 * labels(X) - 1.0
MODEL = Linear(6, loss="log_loss", alpha=0.01, schedule="constant", eta0=0.1)
SOURCE = ArraySource(rows_of(X, SIGNS))
RATE = 1000.0  # examples a second


def train(algorithm, speeds=None, engine=None, n_workers=4, model=MODEL, source=SOURCE, **fitting):
    n_workers = n_workers if speeds is None else len(speeds)
    engine = engine or Simulated(speeds=speeds, rate=RATE)
    return fit(model, algorithm, engine, source, n_workers=n_workers, **{"max_epochs": 4, **fitting})


def told(found, key):
    """Something that history tells of each worker, ``(n_rounds, n_workers)``."""
    return np.array([[worker[key] for worker in entry["workers"]] for entry in found.history])


def lengths(found):
    """How long each round took."""
    return np.diff([0.0, *(entry["seconds"] for entry in found.history)])


@dataclass(frozen=True)
class Spy(LocalSGD):
    """Local SGD that keeps its standings."""

    def merge(self, standing, reports):
        self.seen.append(standing)
        return super().merge(standing, reports)


def spied(algorithm, *args, **kwargs):
    spy = Spy(**{name: getattr(algorithm, name) for name in algorithm.__dataclass_fields__})
    object.__setattr__(spy, "seen", [])
    return train(spy, *args, **kwargs), spy.seen


# -- periods -------------------------------------------------------------------------------------------------------


def test_an_adaptive_period_shortens_as_the_loss_falls_and_never_lengthens():
    found, seen = spied(LocalSGD("adaptive"), max_epochs=12)
    periods = np.array([standing.memory.sync_every for standing in seen])
    assert np.all(np.diff(periods) <= 0.0)
    assert periods[0] == periods[1] == 1.0
    assert periods[-1] < 0.7
    rounds_a_pass = np.bincount([standing.examples // 1200 for standing in seen])
    assert np.all(np.diff(rounds_a_pass) >= 0)
    assert rounds_a_pass[0] == 1
    assert rounds_a_pass[-1] > 1
    assert found.examples == 12 * 1200


def test_an_adaptive_period_is_the_root_of_the_losses_ratio():
    found, seen = spied(LocalSGD("adaptive"), max_epochs=3)
    first, second = found.history[0]["loss"], found.history[1]["loss"]
    assert seen[2].memory.sync_every == pytest.approx(np.sqrt(second / first))


@pytest.mark.parametrize("settings", [{"seconds": 0.05}, {"deadline": 0.1}, {"balance": "speed"}], ids=str)
def test_an_adaptive_period_goes_with_what_ends_rounds_otherwise(settings):
    found = train(LocalSGD("adaptive", **settings), (1.0, 0.5, 0.25), max_epochs=6)
    assert found.outcome is Outcome.MAX_EPOCHS
    assert found.history[-1]["loss"] < found.history[0]["loss"]


@pytest.mark.parametrize(
    ("sync_every", "after", "rounds"),
    [
        (0.1, None, [10] * 6),
        (0.1, 2, [10, 10, 5, 3, 2, 2]),
        (0.25, 1, [4, 2, 2, 2, 2, 2]),
        (0.5, 1, [2] * 6),
        (1.0, 1, [1] * 6),
    ],
)
@pytest.mark.parametrize("partition", ["shuffled", "replicated"])
def test_rounds_lengthen_with_every_pass_up_to_half_of_one(sync_every, after, rounds, partition):
    found, seen = spied(LocalSGD(sync_every, lengthen_after_epochs=after, partition=partition), max_epochs=6)
    assert np.bincount([standing.examples // 1200 for standing in seen]).tolist() == rounds
    assert found.examples == 6 * 1200


def test_the_deadline_of_longer_rounds_is_longer():
    found = train(LocalSGD(0.25, lengthen_after_epochs=1, deadline="auto"), max_epochs=3)
    # workers alike are given a third more than they need, so nobody is late
    assert np.all(told(found, "examples").sum(axis=0) == 3 * 300)
    assert len(found.history) == 4 + 2 + 2


# -- deadlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 8])
def test_with_an_automatic_deadline_the_second_round_ends_at_the_median_and_three_deviations(batch_size):
    model = Linear(6, loss="log_loss", alpha=0.01, schedule="constant", eta0=0.1, batch_size=batch_size)
    found = train(LocalSGD(0.25, deadline="auto"), (1.0, 1.0, 1.0, 0.1), model=model)
    took, examples, weights, steps = lengths(found), *(told(found, key) for key in ("examples", "weight", "steps"))
    # 75 examples, or 10 batches of 8; equal workers deviate by a tenth of the median at least
    part = -(-75 // batch_size) * batch_size
    assert took[0] == pytest.approx(10 * examples[0, 0] / RATE)
    # a batch that is begun is ended: ten times a quick worker's
    assert 1.3 * part - 1e-6 <= took[1] * RATE <= 1.3 * part + 10 * batch_size + 1e-6
    assert np.all(took[1:] * RATE <= 1.3 * part + 10 * batch_size + 1e-6)
    assert np.all(examples[1:, 3] < 0.3 * examples[1:, 0])
    np.testing.assert_allclose(weights, steps / steps.sum(axis=1, keepdims=True))


def test_an_automatic_deadline_is_computed_once_per_round(monkeypatch):
    # it depends on all workers: for each worker it would take the square of their number
    calls = []
    monkeypatch.setattr(local_sgd, "deadline", lambda *arguments: calls.append(1) or deadline(*arguments))
    found = train(LocalSGD(0.25, deadline="auto"), n_workers=20)
    assert len(calls) == len(found.history) - 1


def test_who_is_late_does_as_much_in_the_next_rounds():
    """What is left of its part is less; the time for it is not."""
    found = train(LocalSGD(0.25, deadline="auto"), (1.0, 1.0, 1.0, 0.1), max_epochs=8)
    done = told(found, "examples")[1:, 3]
    # 1.3 times 75 examples of the others, and the one that is begun; less only at the end of a part
    assert np.all((done == 10) | (np.cumsum(done) % 75 == 0))


def test_workers_of_equal_speed_are_never_late():
    plain, bounded = (train(LocalSGD(0.3, rule="steps", deadline=deadline), n_workers=3) for deadline in (None, "auto"))
    assert plain.state.tobytes() == bounded.state.tobytes()


def test_a_fixed_deadline_ends_the_first_round_too():
    found = train(LocalSGD(1.0, deadline=0.06), (1.0, 1.0, 0.1))
    examples = told(found, "examples")
    assert examples[0].tolist() == [60, 60, 6]
    np.testing.assert_allclose(lengths(found), 0.06)
    steps = told(found, "steps")
    np.testing.assert_allclose(told(found, "weight"), steps / steps.sum(axis=1, keepdims=True))


def test_a_deadline_that_nobody_can_keep_still_lets_everybody_make_a_step():
    found = train(LocalSGD(0.5, deadline=1e-9), n_workers=3, max_epochs=1)
    assert np.all(told(found, "examples") == 1)
    assert found.outcome is Outcome.MAX_EPOCHS


def test_workers_that_are_slowed_down_are_late_as_slow_ones_are():
    engine = slow_down({2: 10.0}, Simulated(rate=RATE))
    slowed = train(LocalSGD(0.25, deadline="auto"), engine=engine, n_workers=3)
    slow = train(LocalSGD(0.25, deadline="auto"), (1.0, 1.0, 0.1))
    assert slowed.state.tobytes() == slow.state.tobytes()
    np.testing.assert_allclose(told(slowed, "seconds"), told(slow, "seconds"))


def test_deadlines_are_kept_on_real_threads_too():
    found = fit(MODEL, LocalSGD(1.0, deadline="auto"), slow_down({0: 2.0}), SOURCE, n_workers=2, max_epochs=3)
    assert found.examples >= 3 * 1200


@pytest.mark.parametrize("outer_optimizer", ["mean", "nesterov", "adaptive"])
@pytest.mark.parametrize("model", [MODEL, Network((6, 4, 2), solver="adam", batch_size=8)], ids=["linear", "network"])
def test_late_workers_go_with_every_outer_step(outer_optimizer, model):
    source = ArraySource(rows_of(X, labels(X).astype(np.int64) if isinstance(model, Network) else SIGNS))
    found = train(
        LocalSGD(0.25, outer_optimizer=outer_optimizer, deadline="auto"),
        (1.0, 1.0, 1.0, 0.1),
        model=model,
        source=source,
    )
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    steps = told(found, "steps")
    if outer_optimizer == "adaptive" and model is MODEL:
        # the schedule goes by what all did together
        assert found.schedule_step == 1 + steps.sum()


# -- balance ---------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("partition", ["shuffled", "contiguous", "replicated"])
@pytest.mark.parametrize("sync_every", [0.2, 1.0])
@pytest.mark.parametrize("speeds", [(1.0, 0.5, 0.25), (1.0, 1.0, 1.0, 0.1)], ids=str)
def test_after_the_first_pass_shards_are_in_proportion_to_speed(partition, sync_every, speeds):
    found, seen = spied(LocalSGD(sync_every, balance="speed", partition=partition), speeds, max_epochs=4)
    shares = np.array(speeds) / sum(speeds)
    owned = np.array([standing.shard_rows for standing in seen])
    passes = np.array([standing.examples // 1200 for standing in seen])
    assert np.ptp(owned[passes == 0]) == 0
    np.testing.assert_allclose(owned[passes > 0], np.tile(1200 * shares, (np.sum(passes > 0), 1)), atol=1.0)
    assert np.all(owned.sum(axis=1) == 1200)
    # a pass takes as long as the speeds together allow, but for parts that are whole examples
    ends = [entry["seconds"] for entry in found.history if entry["epoch"] == int(entry["epoch"])]
    slow, *balanced = np.diff([0.0, *ends])
    assert slow == pytest.approx(1200 / len(speeds) / min(speeds) / RATE)
    ideal = 1200 / sum(speeds) / RATE
    rounds = round(1 / sync_every)
    assert all(ideal <= seconds + 1e-9 and seconds <= ideal + rounds / min(speeds) / RATE for seconds in balanced)


@given(speeds=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6).map(tuple), seed=st.integers(1, 99))
def test_every_row_is_owned_once_and_visited_once_a_pass(speeds, seed):
    visited = []

    class Watching(Simulated):
        def open(self, work, shards, pulse):
            def watched(shard, task, pulse):
                epoch, at = divmod(task.cursor, max(shard.n_rows, 1))
                order = next(iter(shard.blocks(task.seed, epoch))).order
                report = work(shard, task, pulse)
                assert at + report.examples <= shard.n_rows
                visited.append((epoch, order[at : at + report.examples]))
                return report

            return super().open(watched, shards, pulse)

    algorithm = LocalSGD(0.5, balance="speed")
    found = train(algorithm, engine=Watching(speeds=speeds, rate=RATE), n_workers=len(speeds), seed=seed, max_epochs=3)
    assert found.examples == 3 * 1200
    for epoch in range(3):
        rows = np.concatenate([order for number, order in visited if number == epoch])
        np.testing.assert_array_equal(np.sort(rows), np.arange(1200))


def test_workers_of_equal_speed_keep_their_rows():
    plain, balanced = (
        train(LocalSGD(0.3, rule="uniform", balance=balance), n_workers=3) for balance in (None, "speed")
    )
    assert plain.state.tobytes() == balanced.state.tobytes()


def test_who_has_more_rows_counts_more():
    found = train(LocalSGD(1.0, balance="speed"), (1.0, 0.5))
    np.testing.assert_allclose(told(found, "weight")[1:], np.tile([2 / 3, 1 / 3], (3, 1)), rtol=0.01)


def test_balanced_workers_are_not_late():
    """A worker's part is as large as it is quick."""
    found = train(LocalSGD(0.25, balance="speed", deadline="auto"), (1.0, 1.0, 0.2), max_epochs=5)
    done = told(found, "examples")
    whole = train(LocalSGD(0.25, balance="speed"), (1.0, 1.0, 0.2), max_epochs=5)
    # once the shards are dealt by speed, nothing is cut
    shares = done[-4:].sum(axis=0) / done[-4:].sum()
    np.testing.assert_allclose(shares, told(whole, "examples")[-4:].sum(axis=0) / 1200, atol=0.02)


def test_a_dead_worker_keeps_the_others_from_nothing():
    engine = Simulated(speeds=(1.0, 0.5, 0.25), rate=RATE, failures={1: 0.7})
    found = train(LocalSGD(0.2, balance="speed", deadline="auto"), engine=engine, n_workers=3, max_epochs=5)
    assert [gone["worker"] for entry in found.history for gone in entry["lost"]] == [1]
    # others go on with its rows
    assert {worker["worker"] for worker in found.history[-1]["workers"]} == {0, 1, 2}
    assert found.outcome is Outcome.MAX_EPOCHS


def test_balance_repeats_to_the_bit():
    one, again = (train(LocalSGD(0.2, balance="speed", deadline="auto"), (1.0, 0.5, 0.3)) for _ in range(2))
    assert one.state.tobytes() == again.state.tobytes()


# -- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("outer_optimizer", ["mean", "momentum", "adaptive"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_runs_in_rounds(rule, outer_optimizer):
    found = train(LocalSGD(0.5, rule=rule, outer_optimizer=outer_optimizer), (1.0, 0.5, 0.25))
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    assert np.all(told(found, "weight") >= 0.0)


@pytest.mark.parametrize("rule", ["uniform", "steps", "examples", "wp", "fednova", "loss"])
def test_rules_that_look_at_no_rows_see_all_of_them(rule):
    assert train(LocalSGD(0.5, rule=rule)).examples == 4 * 1200


def test_learned_weights_hold_rows_back_and_an_adaptive_step_does_not():
    assert train(LocalSGD(0.5, rule="learned")).examples == 4 * (1200 - 120)
    assert train(LocalSGD(0.5, outer_optimizer="adaptive")).examples == 4 * 1200
    # together they look at the same rows, held back
    assert train(LocalSGD(0.5, rule="learned", outer_optimizer="adaptive")).examples == 4 * (1200 - 300)
    # one worker has nobody to be weighed against
    assert train(LocalSGD(0.5, rule="learned"), n_workers=1).examples == 4 * 1200


# -- losses ----------------------------------------------------------------------------------------------------------


class Mortal(EngineDefaults):
    """An engine whose first worker answers its first task, and no further one."""

    name, capabilities = "mortal", frozenset()

    def open(self, work, shards, pulse):
        class Crew(SerialWorkerPool):
            def receive(self, at_least):
                if self.tasks and self.tasks[0].worker == 0 and self.tasks[0].round == 1:
                    task = self.tasks.popleft()
                    return [TaskFailed(task.worker, task.round, "gone")]
                return super().receive(1)

        return Crew(work, shards, pulse)


def test_a_fit_ends_when_all_that_had_rows_are_lost():
    """Three workers and one row: those that are left would go on for ever."""
    one_row = ArraySource(rows_of(X[:1], SIGNS[:1]))
    with pytest.raises(WorkersLostError, match="All workers that had rows are lost; the last one, 0, in round 1: gone"):
        fit(MODEL, LocalSGD(), Mortal(), one_row, n_workers=3, max_epochs=5)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (dict(sync_every="adaptiv"), "Did you mean 'adaptive'?"),
        (dict(sync_every=0.0), "'sync_every' parameter of LocalSGD must be a number in the range (0, 1]"),
        (dict(deadline="soon"), "'deadline' parameter of LocalSGD must be a str among {'auto'}. Got 'soon'"),
        (dict(deadline=0.0), "'deadline' parameter of LocalSGD"),
        (dict(balance="rows"), "'balance' parameter of LocalSGD must be a str among {'speed'}"),
        (dict(outer_optimizer="nestorov"), "Did you mean 'nesterov'?"),
        (dict(outer_optimizer=LocalSGD), "'outer_optimizer' parameter of LocalSGD"),
        (dict(outer_optimizer=3), "'outer_optimizer' parameter of LocalSGD"),
        (dict(partition="common_order"), "'partition' parameter of LocalSGD"),
        (dict(seconds=1.0, deadline="auto"), "either seconds or deadline"),
        (dict(lengthen_after_epochs=0), "'lengthen_after_epochs' parameter of LocalSGD must be an int of at least 1"),
        (dict(sync_every="adaptive", lengthen_after_epochs=2), "Got lengthen_after_epochs=2 and sync_every='adaptive'"),
        (dict(sync_every=20, lengthen_after_epochs=2), "Got lengthen_after_epochs=2 and sync_every=20; remove one"),
        (dict(sync_every=1.5), "A whole number above 1 is a number of SGD steps"),
    ],
)
def test_bad_parameters_are_named_with_what_was_expected_and_what_came(bad, said):
    with pytest.raises(InvalidArgumentError) as refusal:
        LocalSGD(**bad)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "algorithm",
    [
        LocalSGD("adaptive"),
        LocalSGD(deadline="auto"),
        LocalSGD(deadline=1.0),
        LocalSGD(balance="speed"),
        LocalSGD(partition="replicated", balance="speed", deadline="auto"),
        *(LocalSGD(rule=rule) for rule in RULES),
    ],
    ids=repr,
)
def test_algorithms_in_rounds_keep_their_contract(algorithm):
    check_algorithm(algorithm)
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm


def test_estimators_take_all_of_it():
    algorithm = LocalSGD(
        "adaptive", rule="steps", outer_optimizer="nesterov", deadline="auto", balance="speed", partition="replicated"
    )
    model = SGDClassifier(
        "log_loss", algorithm=algorithm, engine=Serial(), n_jobs=2, max_iter=3, tol=None, random_state=0
    )
    assert model.fit(X, SIGNS).score(X, SIGNS) > 0.8
