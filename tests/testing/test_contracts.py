"""Our parts keep the contracts; parts that break one are found out, and told which."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from parsgd import (
    AsyncLocalSGD,
    DelayedSGD,
    ElasticAveraging,
    LocalSGD,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
    registry,
)
from parsgd.core import EngineDefaults, MergeResult, RowBlock, Shard
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial, SerialWorkerPool
from parsgd.models.linear.linear_model import Linear
from parsgd.testing import check_algorithm, check_engine, check_model, check_source, slow_down
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of


def rows(layout="dense", n_classes=2, dtype=np.float64, n_rows=41):
    X = unit_rows(n_rows, 6, layout=layout, dtype=dtype)
    if n_classes == 0:
        return rows_of(X, np.abs(targets(X)).astype(dtype))
    y = labels(X, n_classes)
    return rows_of(X, y.astype(np.int64) if n_classes > 2 else (2.0 * y - 1.0).astype(dtype))


ALGORITHMS = [
    SimuParallel(),
    SimuParallel(partition="replicated"),
    LocalSGD(),
    LocalSGD(sync_every=1.0, rule="wp"),
    LocalSGD(seconds=10.0),
    *(WeightedAverage(rule=rule) for rule in ("wp", "steps", "measured", "uniform")),
    WeightedAverage(seconds=10.0),
    DelayedSGD(7),
    DelayedSGD(7, compensation=0.5),
    *(AsyncLocalSGD(rule=rule) for rule in ("staleness", "wp", "uniform")),
    AsyncLocalSGD(sync_every=1.0, rate=0.7),
    ElasticAveraging(pull=0.5),
    ElasticAveraging(sync_every=1.0, asynchronous=True),
]
MODELS = [
    {"loss": "log_loss"},
    {"loss": "log_loss", "batch_size": 4},
    {"loss": "hinge", "loss_parameter": 1.0, "penalty": "l1"},
    {"loss": "modified_huber", "penalty": "elasticnet", "average": 3},
    {"loss": "squared_hinge", "penalty": None, "schedule": "constant"},
    {"loss": "hinge", "loss_parameter": 1.0, "schedule": "pa1", "eta0": 0.5},
    {"loss": "log_loss", "schedule": "adagrad", "eta0": 0.3, "penalty": "elasticnet"},
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_our_algorithms_keep_their_contract(algorithm):
    check_algorithm(algorithm)


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_every_algorithm_of_the_registry_keeps_its_contract(name):
    algorithm = registry.load(registry.ALGORITHMS[name])()
    assert algorithm.name == name
    check_algorithm(algorithm)


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_engine_of_the_registry_keeps_its_contract(kept_engine, name):
    engine = kept_engine(name)
    assert engine.name == name
    # Dask starts a thread of its own with the first fit, and keeps it
    first = SGDRegressor(engine=engine, n_jobs=2, algorithm="local", max_iter=1, tol=None)
    first.fit(unit_rows(20, 3), np.arange(20.0))
    check_engine(engine)


def test_an_engine_that_slows_workers_down_keeps_the_contract():
    check_engine(slow_down({0: 2.0}))


@pytest.mark.parametrize("settings", MODELS, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_linear_models_of_one_output_keep_their_contract(settings, layout):
    check_model(Linear(6, sparse=layout == "csr", **settings), rows(layout))


@pytest.mark.parametrize("settings", [*MODELS, {"loss": "softmax"}], ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_linear_models_of_several_outputs_keep_their_contract(settings, layout):
    ones = (1.0,) * 3
    model = Linear(6, 3, sparse=layout == "csr", positive=ones, negative=ones, **settings)
    check_model(model, rows(layout, n_classes=3))


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "quantile"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_linear_models_of_numbers_keep_their_contract(loss, dtype):
    model = Linear(6, loss=loss, loss_parameter=0.3, dtype=dtype, schedule="invscaling")
    check_model(model, rows(n_classes=0, dtype=dtype))


@pytest.mark.cover(2)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("subset", [None, np.array([3, 5, 8, 9])])
def test_arrays_keep_the_contract_of_sources(shuffle, layout, subset):
    check_source(ArraySource(rows(layout, n_rows=11), shuffle, subset))


# -- parts that break a promise ------------------------------------------------------------------------------------


class WrongGradient(Linear):
    def gradient(self, state, rows):
        value, gradient = super().gradient(state, rows)
        return value, 1.01 * gradient


class Uphill(Linear):
    def sgd_run(self, state, schedule_step, lr_scale, seed):
        return super().sgd_run(state, schedule_step, -lr_scale, seed)


class NeverBroken(Linear):
    def finite(self, state):
        return True


@pytest.mark.parametrize(
    ("kind", "sentence"), [(WrongGradient, "slope"), (Uphill, "uphill"), (NeverBroken, "not finite")]
)
def test_a_model_that_breaks_a_promise_is_told_which(kind, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_model(kind(6, loss="log_loss"), rows())


class CountsIdle(LocalSGD):
    def merge(self, standing, reports):
        weights = np.full(len(reports), 1.0 / len(reports))
        return MergeResult(sum(w * r.state for w, r in zip(weights, reports, strict=True)), weights)


class FavoursTheFirst(LocalSGD):
    def merge(self, standing, reports):
        return MergeResult(reports[0].state.copy(), np.eye(len(reports))[0])


class WritesToTheState(LocalSGD):
    def merge(self, standing, reports):
        standing.state[:] += 1.0
        return super().merge(standing, reports)


class WorksTooMuch(LocalSGD):
    def run(self, model, shard, task, pulse):
        budget = replace(task.budget, examples=task.budget.examples + 1)
        return super().run(model, shard, replace(task, budget=budget), pulse)


class WritesToItsMemory(LocalSGD):
    def merge(self, standing, reports):
        standing.memory.seconds_per_example[0] = 1.0
        return super().merge(standing, reports)._replace(memory=standing.memory)


class RoundsUp(LocalSGD):
    def merge(self, standing, reports):
        merge = super().merge(standing, reports)
        return merge if merge.state is standing.state else merge._replace(state=np.nextafter(merge.state, np.inf))


class Drifts(LocalSGD):
    def merge(self, standing, reports):
        merge = super().merge(standing, reports)
        return merge if len(reports) == 1 or not merge.weights.any() else merge._replace(state=merge.state + 1e-3)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (CountsIdle, "no step"),
        (FavoursTheFirst, "equal weights"),
        (WritesToTheState, "pure"),
        (WorksTooMuch, "budget"),
        (WritesToItsMemory, "memory"),
        (RoundsUp, "bit for bit"),
        (Drifts, "must stay"),
    ],
)
def test_an_algorithm_that_breaks_a_promise_is_told_which(kind, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_algorithm(kind())


class Broken(EngineDefaults):
    """The serial engine with another crew."""

    name, capabilities = "broken", frozenset()

    def __init__(self, crew):
        self.crew = crew

    def open(self, work, shards, pulse):
        return self.crew(work, shards, pulse)


class AnswersTwice(SerialWorkerPool):
    def receive(self, at_least):
        return [report for report in super().receive(at_least) for _ in range(2)]


class SwapsShards(SerialWorkerPool):
    def __init__(self, work, shards, pulse):
        super().__init__(work, shards[::-1], pulse)


class KeepsItsShards(SerialWorkerPool):
    def set_shards(self, shards):
        pass


class GoesBackInTime(SerialWorkerPool):
    def now(self):
        return -super().now()


class SwallowsErrors(SerialWorkerPool):
    def receive(self, at_least):
        try:
            return super().receive(at_least)
        except ZeroDivisionError:
            return []


class GivesOtherBits(SerialWorkerPool):
    def receive(self, at_least):
        return [replace(report, state=report.state * (1 + 1e-15)) for report in super().receive(at_least)]


@pytest.mark.parametrize(
    ("crew", "sentence"),
    [
        (AnswersTwice, "once"),
        (SwapsShards, "own shard"),
        (KeepsItsShards, "own shard"),
        (GoesBackInTime, "go back"),
        (SwallowsErrors, "swallowed"),
        (GivesOtherBits, "bits"),
    ],
)
def test_an_engine_that_breaks_a_promise_is_told_which(crew, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_engine(Broken(crew))


class LosesARow(ArraySource):
    def split(self, n_workers, seed, partition="shuffled"):
        return [replace(shard, numbers=shard.numbers[:-1]) for shard in super().split(n_workers, seed, partition)]


@dataclass
class Forgetful(Shard):
    """A shard whose order depends on how often it was asked."""

    shard: object
    asked: int = 0

    @property
    def n_rows(self):
        return self.shard.n_rows

    cost = 1.0

    def blocks(self, seed, epoch, start=0):
        self.asked += 1
        for block in self.shard.blocks(seed, epoch):
            yield RowBlock(block.rows, np.roll(block.order, self.asked))


class Irreproducible(ArraySource):
    def split(self, n_workers, seed, partition="shuffled"):
        return [Forgetful(shard) for shard in super().split(n_workers, seed, partition)]


@pytest.mark.parametrize(("kind", "sentence"), [(LosesARow, "every row"), (Irreproducible, "same shards")])
def test_a_source_that_breaks_a_promise_is_told_which(kind, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_source(kind(rows(n_rows=11)))


def test_a_part_that_lacks_a_verb_is_refused():
    for check in (check_algorithm, check_engine, check_source):
        with pytest.raises(AssertionError, match=r"lacks members of parsgd\.core"):
            check(object())
    with pytest.raises(AssertionError, match=r"lacks members of parsgd\.core"):
        check_model(Serial(), rows())
