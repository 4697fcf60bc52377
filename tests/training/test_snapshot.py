"""Snapshots: what is taken is not changed by what follows, and says all there is to say."""

import pickle

import numpy as np
import pytest

from parsgd import (
    AsyncLocalSGD,
    DelayedSGD,
    ElasticAveraging,
    Hogwild,
    LocalSGD,
    MiniBatch,
    SimuParallel,
    WeightedAverage,
)
from parsgd.core import Budget, Task
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.loop import fit
from parsgd.training.snapshot import Snapshot
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

X = unit_rows(200, 6)
SOURCE = ArraySource(rows_of(X, 2.0 * labels(X) - 1.0))
MODEL = Linear(6, loss="log_loss", alpha=0.01, schedule="constant", eta0=0.1, average=1)
ALGORITHMS = [
    SimuParallel(),
    WeightedAverage(),
    LocalSGD(),
    LocalSGD(outer_optimizer="momentum"),
    LocalSGD(outer_optimizer="adaptive"),
    LocalSGD(sync_every="adaptive"),
    MiniBatch(16),
    DelayedSGD(8),
    ElasticAveraging(),
    ElasticAveraging(asynchronous=True),
    AsyncLocalSGD(),
]


class Collects:
    """A checkpointer that keeps everything, as it was when it came."""

    def __init__(self, found=None):
        self.found, self.taken, self.rescued = found, [], 0

    def open(self, model, algorithm, shards, seeds, max_epochs):
        return self.found

    def begin(self, snapshot):
        self.taken.append((snapshot, pickle.dumps(snapshot.plain())))

    offer = end = begin

    def rescue(self):
        self.rescued += 1


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, Hogwild()], ids=repr)
@pytest.mark.parametrize("n_workers", [1, 3])
def test_what_is_taken_is_not_changed_by_what_follows(algorithm, n_workers):
    model = Linear(6, loss="log_loss", alpha=0.01) if isinstance(algorithm, Hogwild) else MODEL
    checkpointer = Collects()
    rule = StoppingRule(tol=1e-4, monitor=lambda state: state[:1], keeps_best=True)
    fit(
        model, algorithm, Threads(), SOURCE, n_workers=n_workers, max_epochs=3, stopping=rule, checkpointer=checkpointer
    )
    for snapshot, then in checkpointer.taken:
        assert pickle.dumps(snapshot.plain()) == then
    numbers = [snapshot.round for snapshot, _ in checkpointer.taken]
    # the beginning is told twice: before any worker starts, and when they are at work
    assert numbers == [0, *range(numbers[-1] + 1)]
    assert [snapshot.ended for snapshot, _ in checkpointer.taken] == [False] * (len(numbers) - 1) + [True]
    assert checkpointer.rescued == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_from_every_one_the_fit_ends_where_it_ended(algorithm):
    checkpointer = Collects()
    whole = fit(MODEL, algorithm, Serial(), SOURCE, n_workers=2, max_epochs=2, checkpointer=checkpointer)
    for snapshot, _ in checkpointer.taken[:: max(len(checkpointer.taken) // 5, 1)]:
        again = fit(MODEL, algorithm, Serial(), SOURCE, n_workers=2, max_epochs=2, checkpointer=Collects(snapshot))
        assert again.state.tobytes() == whole.state.tobytes()
        assert (again.schedule_step, again.n_epochs, again.examples) == (
            whole.schedule_step,
            whole.n_epochs,
            whole.examples,
        )
        assert [entry["loss"] for entry in again.history] == [entry["loss"] for entry in whole.history]


def test_plain_and_back():
    task = Task(1, 4, np.ones(3), 7, Budget(12), cursor=5, lr_scale=np.ones(2))
    snapshot = Snapshot(
        state=np.zeros(3),
        answer=None,
        memory=(1, None),
        schedule_step=3.0,
        lr_scale=np.ones(2),
        round=5,
        examples=60,
        epochs=1,
        epoch_examples=10,
        epoch_objective=np.zeros(2),
        cursors=(30, 30),
        shard_fractions=None,
        history=[{"round": 0}],
        best=None,
        idle=None,
        scores=[0.5],
        best_state=None,
        under_way=(task,),
        seconds=1.5,
        outcome=None,
    )
    plain = snapshot.plain()
    assert plain["under_way"][0]["budget"] == {"examples": 12, "seconds": None, "stopping": None}
    again = Snapshot.of(plain)
    assert again.under_way[0].state is task.state
    assert again.plain().keys() == plain.keys()
    assert again.under_way[0].budget == task.budget
    with pytest.raises(TypeError):
        Snapshot.of({**plain, "unknown": 1})


def test_a_fit_that_breaks_off_asks_for_rescue():
    class Fails(LocalSGD):
        def merge(self, standing, reports):
            if standing.round == 2:
                raise OSError("no more")
            return super().merge(standing, reports)

    checkpointer = Collects()
    with pytest.raises(OSError, match="no more"):
        fit(MODEL, Fails(), Serial(), SOURCE, n_workers=2, checkpointer=checkpointer)
    assert [snapshot.round for snapshot, _ in checkpointer.taken] == [0, 0, 1, 2]
    assert checkpointer.rescued == 1
