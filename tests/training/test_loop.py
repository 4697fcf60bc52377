"""The loop: what it refuses, what it writes down, when it stops."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from convex_problems import logistic, ridge

import parsgd
from parsgd import LocalSGD, MiniBatch, SimuParallel, WeightedAverage
from parsgd.core import AlgorithmTraits, EngineDefaults, TaskFailed
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial, SerialWorkerPool
from parsgd.errors import DivergedError, IncompatiblePartsError, Outcome, WorkersLostError
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

X = unit_rows(200, 6)
Y = labels(X)
MODEL = Linear(6, loss="log_loss", alpha=0.01, schedule="constant", eta0=0.1)
SOURCE = ArraySource(rows_of(X, 2.0 * Y - 1.0))
ALGORITHMS = [SimuParallel(), WeightedAverage(), LocalSGD(sync_every=0.25)]


# -- refusals ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NeedsAMiracle(LocalSGD):
    traits = AlgorithmTraits(requires=frozenset({"miracle", "shared_memory"}))
    name = "hopeful"


class Untouched(EngineDefaults):
    """An engine that must not be opened."""

    name, capabilities = "untouched", frozenset({"shared_memory"})

    def open(self, work, shards, pulse):
        pytest.fail("a worker was started")


class Unsplit:
    """A source that must not be split."""

    n_rows = 5

    def split(self, n_workers, seed, partition):
        pytest.fail("the rows were split")


def test_what_an_engine_does_not_offer_is_refused_before_anything_starts():
    with pytest.raises(IncompatiblePartsError) as refusal:
        fit(MODEL, NeedsAMiracle(), Untouched(), Unsplit())
    message = str(refusal.value)
    for word in ("hopeful", "untouched", "needs miracle", "offers shared_memory", "Use"):
        assert word in message
    assert "needs miracle, shared_memory" not in message


def test_an_estimator_refuses_before_a_worker_starts_too():
    with pytest.raises(IncompatiblePartsError, match="miracle"):
        parsgd.SGDClassifier(algorithm=NeedsAMiracle(), engine=Untouched(), n_jobs=2).fit(X, Y)


def test_what_an_engine_offers_beyond_the_needs_is_no_hindrance():
    offering = type("Offering", (Untouched,), {"capabilities": frozenset({"miracle", "shared_memory", "more"})})()
    offering.open = Serial().open
    assert fit(MODEL, NeedsAMiracle(), offering, SOURCE).outcome is Outcome.MAX_EPOCHS


# -- history -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_history_says_who_did_what_and_adds_up(algorithm, n_workers):
    found = fit(MODEL, algorithm, Serial(), SOURCE, n_workers=n_workers, max_epochs=4)
    assert found.n_epochs == 4
    assert found.examples == 4 * 200
    assert [entry["round"] for entry in found.history] == list(range(len(found.history)))
    assert sum(w["examples"] for entry in found.history for w in entry["workers"]) == 4 * 200
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
        assert [w["worker"] for w in workers] == list(range(n_workers))
        assert sum(w["weight"] for w in workers) == pytest.approx(1.0)
        examples = sum(w["examples"] for w in workers)
        assert entry["loss"] == pytest.approx(sum(w["loss"] * w["examples"] for w in workers) / examples)
        for w in workers:
            assert list(w) == ["worker", "steps", "examples", "seconds", "weight", "loss", "trace"]
            assert w["steps"] == w["examples"]
            assert w["trace"][-1][0] == w["examples"]
            assert w["seconds"] >= 0.0
    epochs = [entry["epoch"] for entry in found.history]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 4.0


def test_one_shot_workers_trace_every_epoch():
    found = fit(MODEL, SimuParallel(), Serial(), SOURCE, n_workers=2, max_epochs=5)
    (entry,) = found.history
    for w in entry["workers"]:
        assert [examples for examples, _, _ in w["trace"]] == [100, 200, 300, 400, 500]
        losses = [loss for _, loss, _ in w["trace"]]
        assert np.mean(losses) == pytest.approx(w["loss"])
        assert losses[-1] < losses[0]


def test_steps_count_batches_and_the_clock_counts_steps():
    found = fit(replace(MODEL, batch_size=7), LocalSGD(sync_every=1.0), Serial(), SOURCE, n_workers=2, max_epochs=3)
    for entry in found.history:
        assert [w["steps"] for w in entry["workers"]] == [math.ceil(100 / 7)] * 2
    assert found.schedule_step == 1.0 + 3 * math.ceil(100 / 7)


def test_the_loss_of_an_epoch_is_the_mean_loss_of_its_examples_just_before_their_steps():
    still = fit(replace(MODEL, eta0=1e-12, penalty=None), SimuParallel(), Serial(), SOURCE, max_epochs=2)
    assert still.history[0]["loss"] == pytest.approx(math.log(2.0), rel=1e-9)


def test_validation_scores_are_in_the_history():
    model = parsgd.SGDClassifier(n_jobs=2, algorithm=LocalSGD(sync_every=0.5), max_iter=3, tol=None, random_state=0)
    model.fit(X, Y, X_val=X[:50], y_val=Y[:50])
    scores = [entry["score"] for entry in model.history_]
    assert scores[0::2] == [None] * 3
    assert all(0.5 < score <= 1.0 for score in scores[1::2])
    assert scores[-1] == model.score(X[:50], Y[:50])


def test_a_watcher_hears_the_end_of_every_fit_inside_its_block_and_none_outside():
    told = []
    model = parsgd.SGDClassifier(max_iter=2, tol=None, n_jobs=2, algorithm="local", random_state=0)
    with parsgd.observe_progress(told.append):
        model.fit(X, Y)
        model.fit(X, Y)
    model.fit(X, Y)
    ends = [news for news in told if news.done]
    assert [(news.examples, news.planned) for news in ends] == [(400, 400)] * 2
    assert {news.loss for news in ends} == {model.history_[-1]["loss"]}


def test_verbose_fits_print_how_they_get_on(capsys):
    parsgd.SGDClassifier(max_iter=2, tol=None, n_jobs=1, verbose=1).fit(X, Y)
    assert "epoch 2.0 of at most 2, loss" in capsys.readouterr().out
    parsgd.SGDClassifier(max_iter=2, tol=None, n_jobs=1).fit(X, Y)
    assert capsys.readouterr().out == ""


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("n_workers", [1, 2])
def test_fits_stop_when_the_loss_no_longer_improves(algorithm, n_workers):
    found = fit(MODEL, algorithm, Serial(), SOURCE, n_workers=n_workers, max_epochs=500, stopping=StoppingRule(1e-3, 3))
    assert found.outcome is Outcome.CONVERGED
    assert 3 < found.n_epochs < 500
    assert not found.lr_scale.any()


def test_without_a_tolerance_all_epochs_are_made():
    found = fit(MODEL, LocalSGD(), Serial(), SOURCE, n_workers=2, max_epochs=30, stopping=StoppingRule(None))
    assert (found.outcome, found.n_epochs) == (Outcome.MAX_EPOCHS, 30)


def test_a_rule_that_stops_at_once_needs_as_many_epochs_as_its_patience():
    # the first epoch always improves on nothing
    found = fit(MODEL, LocalSGD(), Serial(), SOURCE, n_workers=2, max_epochs=30, stopping=StoppingRule(1e9, 4))
    assert found.n_epochs == 5


def test_an_epoch_that_gains_exactly_tol_is_an_improvement():
    rule, lr_scale = StoppingRule(tol=0.5, patience=1), np.ones(1)
    for objective in (2.0, 1.5, 1.0):
        rule.update(np.array([objective]), np.zeros(1), lr_scale)
    assert lr_scale.tolist() == [1.0]
    rule.update(np.array([0.75]), np.zeros(1), lr_scale)
    assert lr_scale.tolist() == [0.0]


def test_every_output_stops_by_itself():
    rule, lr_scale = StoppingRule(tol=0.1, patience=2), np.ones(2)
    for objective in ([1.0, 1.0], [1.0, 0.8], [1.0, 0.6]):
        rule.update(np.array(objective), np.zeros(1), lr_scale)
    assert lr_scale.tolist() == [0.0, 1.0]


def test_an_adaptive_rate_falls_by_five_until_it_is_tiny_and_then_stops():
    rule, lr_scale, seen = StoppingRule(tol=0.1, patience=1, adaptive_from=1e-3), np.ones(1), []
    for _ in range(8):
        rule.update(np.ones(1), np.zeros(1), lr_scale)
        seen.append(float(lr_scale[0]))
    np.testing.assert_allclose(seen, [1, 0.2, 0.04, 0.008, 0.0016, 0.00032, 0.0, 0.0], atol=1e-12)


def test_a_rule_remembers_nothing_from_the_last_fit():
    rule = StoppingRule(1e-3, 3)
    first, second = (
        fit(MODEL, LocalSGD(), Serial(), SOURCE, n_workers=2, max_epochs=500, stopping=rule) for _ in range(2)
    )
    assert first.n_epochs == second.n_epochs
    assert first.state.tobytes() == second.state.tobytes()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_early_stopping_stops_when_the_score_no_longer_improves(n_jobs):
    settings = {"early_stopping": True, "n_iter_no_change": 3, "random_state": 0}
    model = parsgd.SGDRegressor(algorithm="local", n_jobs=n_jobs, **settings).fit(X, targets(X))
    assert model.outcome_ is Outcome.CONVERGED
    scores = [entry["score"] for entry in model.history_ if entry["score"] is not None]
    assert len(scores) == model.n_iter_
    gained = np.diff(np.maximum.accumulate(scores))
    assert np.all(gained[-3:] < 1e-3)
    assert np.all(gained[:3] >= 1e-3)


# -- workers that are lost -----------------------------------------------------------------------------------------


class Loses(Serial):
    """An engine that answers the sendings numbered ``numbers`` of a worker with the news that it is lost."""

    def __init__(self, replaced=True, **numbers):
        self.replaced, self.numbers = replaced, {int(worker[1:]): given for worker, given in numbers.items()}
        self.sent = []

    def open(self, work, shards, pulse):
        engine, crew = self, SerialWorkerPool(work, shards, pulse)

        class Crew:
            set_shards, now, close = crew.set_shards, crew.now, crew.close

            def send(self, task):
                engine.sent.append(task)
                crew.send(task)

            def receive(self, at_least):
                answers = []
                while crew.tasks and len(answers) < at_least:
                    task = crew.tasks[0]
                    number = [sent.worker for sent in engine.sent].count(task.worker)
                    if number in engine.numbers.get(task.worker, ()):
                        crew.tasks.popleft()
                        answers.append(TaskFailed(task.worker, task.round, "the roof fell in", engine.replaced))
                    else:
                        answers += crew.receive(1)
                return answers

        return Crew()


def train(algorithm, engine=None, **settings):
    return fit(MODEL, algorithm, engine or Serial(), SOURCE, **{"n_workers": 3, "max_epochs": 4, "seed": 1, **settings})


def lost_in(found):
    return [gone for entry in found.history for gone in entry["lost"]]


def test_a_round_ends_without_a_lost_task_and_the_next_has_all_workers():
    engine = Loses(w1=[2])
    found = train(LocalSGD(sync_every=0.25), engine)
    assert [len(entry["workers"]) for entry in found.history[:4]] == [3, 2, 3, 3]
    assert [entry["lost"] for entry in found.history[:3]] == [
        [],
        [{"worker": 1, "why": "the roof fell in", "replaced": True}],
        [],
    ]
    for entry in found.history:
        assert sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0)
    # what it was to visit is still to be visited: no row is left out
    again = [task for task in engine.sent if task.worker == 1]
    assert again[1].cursor == again[2].cursor
    assert found.examples >= 4 * 200
    assert found.outcome is Outcome.MAX_EPOCHS


@pytest.mark.parametrize("algorithm", [SimuParallel(), WeightedAverage(rule="steps")], ids=lambda a: a.name)
def test_where_one_round_is_the_fit_a_lost_task_is_sent_again_and_no_bit_is_another(algorithm):
    engine = Loses(w1=[1, 2], w2=[1])
    found = train(algorithm, engine)
    assert [gone["worker"] for gone in lost_in(found)].count(1) == 2
    assert found.state.tobytes() == train(algorithm).state.tobytes()
    assert {id(task) for task in engine.sent if task.worker == 1} == {id(engine.sent[1])}


@pytest.mark.parametrize("algorithm", [LocalSGD(sync_every=0.25), MiniBatch(40)], ids=lambda a: a.name)
def test_where_all_tasks_of_a_round_are_lost_they_are_sent_again(algorithm):
    found = train(algorithm, Loses(w0=[2], w1=[2], w2=[2]))
    assert [gone["worker"] for gone in lost_in(found)] == [0, 1, 2]
    assert found.state.tobytes() == train(algorithm).state.tobytes()


@pytest.mark.parametrize(
    "algorithm",
    [
        parsgd.AsyncLocalSGD(),
        parsgd.DelayedSGD(20),
        parsgd.ElasticAveraging(),
        parsgd.ElasticAveraging(asynchronous=True),
        MiniBatch(40),
        LocalSGD(sync_every=0.25, outer_optimizer="adaptive"),
        LocalSGD(sync_every=0.25, rule="learned", balance="speed", deadline="auto"),
    ],
    ids=repr,
)
def test_every_algorithm_goes_on_without_lost_tasks(algorithm):
    found = train(algorithm, Loses(w0=[1, 3], w1=[2, 3], w2=[1]))
    assert len(lost_in(found)) == 5
    assert all(gone["replaced"] for gone in lost_in(found))
    assert found.outcome is Outcome.MAX_EPOCHS
    undisturbed = train(algorithm)
    ours, theirs = (MODEL.gradient(one.state, SOURCE.rows)[0] for one in (found, undisturbed))
    assert ours <= 1.02 * theirs


@pytest.mark.parametrize(
    "algorithm", [SimuParallel(), LocalSGD(sync_every=0.25), MiniBatch(40), parsgd.AsyncLocalSGD()]
)
def test_rows_that_cost_five_workers_in_a_row_are_taken_for_the_cause(algorithm):
    with pytest.raises(WorkersLostError, match=r"Worker 1 failed 5 times in a row, .* the roof fell in\. Its rows may"):
        train(algorithm, Loses(w1=range(1, 99)), max_epochs=50)
    found = train(algorithm, Loses(w1=range(1, 5)), max_epochs=50)
    assert len(lost_in(found)) == 4


def test_workers_that_nobody_replaces_are_gone_and_the_last_one_is_missed():
    found = train(LocalSGD(sync_every=0.25), Loses(replaced=False, w1=[2]))
    assert {worker["worker"] for worker in found.history[-1]["workers"]} == {0, 2}
    with pytest.raises(WorkersLostError, match="All 3 workers are lost; the last one, 2, in round 1: the roof fell in"):
        train(LocalSGD(sync_every=0.25), Loses(replaced=False, w0=[2], w1=[2], w2=[2]))


# -- where fits arrive ---------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("problem", [ridge(400), logistic(400, alpha=0.05)], ids=["ridge", "logistic"])
def test_fits_arrive_at_the_known_optimum(algorithm, n_workers, problem):
    loss = "log_loss" if set(problem.y) == {-1.0, 1.0} else "squared_error"
    model = Linear(8, loss=loss, alpha=problem.alpha, schedule="optimal")
    source = ArraySource(rows_of(problem.X, problem.y))
    found = fit(model, algorithm, Serial(), source, n_workers=n_workers, max_epochs=60)
    views = model.views(found.state)
    start = problem.gap(np.zeros(8), 0.0)
    assert 0.0 <= problem.gap(views["coef"], views["intercept"]) < 0.02 * start


# -- divergence ----------------------------------------------------------------------------------------------------


@pytest.mark.cover(2)
@pytest.mark.parametrize("engine", ["serial", "threads"])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("algorithm", ["simuparallel", "local"])
def test_parameters_that_leave_the_finite_numbers_are_an_error_that_names_the_round(engine, n_jobs, algorithm):
    wild = parsgd.SGDRegressor(learning_rate="constant", eta0=1e6, n_jobs=n_jobs, engine=engine, algorithm=algorithm)
    with pytest.raises(DivergedError, match=r"epoch #\d+") as error:
        wild.fit(X * 100, targets(X))
    assert isinstance(error.value, ValueError)
    assert re.search(r"in round \d+", str(error.value))
    assert not hasattr(wild, "coef_")


# -- small print ---------------------------------------------------------------------------------------------------


def test_the_first_worker_has_the_seed_of_the_fit_and_the_others_have_their_own():
    seeds = [worker_seed(17, worker) for worker in range(50)]
    assert seeds[0] == 17
    assert len(set(seeds)) == 50
    assert all(0 < seed < 2**31 for seed in seeds)
    assert seeds != [worker_seed(18, worker) for worker in range(50)]


def test_a_crew_is_closed_whatever_happens():
    closed = []

    class Watched(SerialWorkerPool):
        def close(self):
            closed.append(True)

    class Engine(Serial):
        def open(self, work, shards, pulse):
            return Watched(work, shards, pulse)

    fit(MODEL, LocalSGD(), Engine(), SOURCE)
    with pytest.raises(DivergedError):
        fit(replace(MODEL, eta0=1e300, loss="squared_error"), LocalSGD(), Engine(), SOURCE, max_epochs=5)
    assert closed == [True, True]
