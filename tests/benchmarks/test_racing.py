"""Who is first at an accuracy, with solvers that are made up."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import time_to_accuracy
from benchmarks.figures.time_to_accuracy import MOST_EPOCHS, SEEDS, Split, arrival, enter, race
from benchmarks.options import Options
from benchmarks.readings import select
from benchmarks.solvers.training import Fitted

SPLIT = Split(np.zeros((4, 1)), np.zeros((10, 1)), np.zeros(4), np.ones(10))
OPTIONS = Options(Path("."), quick=True, n_turns=3)


@dataclass(frozen=True)
class Learner:
    """After epoch k the first ``k + seed`` tenths of the test rows are told right; an epoch takes `a_pass` seconds."""

    a_pass: float
    training: str = "made up"
    blind: tuple[int, ...] = ()

    def passes(self, X, y, seed):
        return (self.fit(X, y, epoch, seed) for epoch in count(1))

    def fit(self, X, y, epochs, seed=0):
        known = 0 if seed in self.blind else epochs + seed
        return Fitted(epochs * self.a_pass, lambda rows: (np.arange(len(rows)) < known).astype(float))


def test_the_first_epoch_at_the_goal_counts():
    assert arrival(Learner(2.0), SPLIT, 0.6, seed=0) == (6, 12.0)
    assert arrival(Learner(2.0), SPLIT, 0.6, seed=2) == (4, 8.0)


def test_whoever_takes_longer_than_the_limit_is_stopped():
    assert arrival(Learner(2.0), SPLIT, 0.6, seed=0, limit_s=9.0) is None


def test_whoever_never_gets_there_is_stopped():
    asked = []

    class Never(Learner):
        def fit(self, X, y, epochs, seed=0):
            asked.append(epochs)
            return Fitted(0.0, lambda rows: np.zeros(len(rows)))

    assert arrival(Never(0.0), SPLIT, 0.6, seed=0) is None
    assert asked == list(range(1, MOST_EPOCHS + 1))


def test_all_seeds_must_arrive():
    assert enter(Learner(1.0), SPLIT, 0.6).epochs == tuple(6 - seed for seed in SEEDS)
    assert enter(Learner(1.0, blind=(1,)), SPLIT, 0.6) is None


def test_the_fastest_of_those_that_arrive_with_all_seeds_wins():
    solvers = [Learner(1.2), Learner(1.0, blind=(2,)), Learner(1.1)]
    assert race(solvers, SPLIT, 0.6, OPTIONS).solver == solvers[2]
    assert race([Learner(1.0, blind=SEEDS)], SPLIT, 0.6, OPTIONS) is None


def test_without_data_the_figure_says_what_it_needs(tmp_path):
    readings = time_to_accuracy.measure(Options(tmp_path))
    assert {reading.peer for reading in readings} == set(time_to_accuracy.TARGETS)
    assert all("--data" in reading.note and not reading.values for reading in readings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_everybody_takes_the_same_turns(tmp_path):
    readings = time_to_accuracy.measure(Options(tmp_path, quick=True, n_turns=2))
    (ours,) = select(readings, peer="scikit-learn")
    assert len(ours.values) == 2
    assert ours.target == 8.0
    assert ours.ratio.low <= ours.ratio.median <= ours.ratio.high
    assert "scikit-learn" in time_to_accuracy.describe(readings)
    assert all(path.stat().st_size > 0 for path in time_to_accuracy.draw(readings, tmp_path))
