"""SAVGM: each worker's solution corrected by one on a part of its rows."""

import numpy as np
import pytest
from convex_problems import logistic

from parsgd import MLPClassifier, SGDClassifier, SimuParallel
from parsgd.algorithms.common.subsample import SubsampledShard
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import InvalidArgumentError
from parsgd.testing import check_algorithm
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of

X = unit_rows(400, 5)


def shard(shuffle=True):
    return ArraySource(rows_of(X, X[:, 0]), shuffle).split(2, 1)[0]


def test_the_algorithm_keeps_its_contract():
    check_algorithm(SimuParallel(correction=0.25))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_part_has_the_same_rows_in_every_epoch_in_the_order_of_the_whole(shuffle, fraction):
    whole = shard(shuffle)
    part = SubsampledShard(whole, fraction, seed=3)
    epochs = [next(part.blocks(3, epoch)).order for epoch in range(3)]
    assert part.n_rows == len(epochs[0])
    assert abs(part.n_rows - 200 * fraction) < 30
    for epoch, order in enumerate(epochs):
        np.testing.assert_array_equal(np.sort(order), np.sort(epochs[0]))
        everyone = next(whole.blocks(3, epoch)).order
        np.testing.assert_array_equal(order, everyone[np.isin(everyone, order)])
    assert set(epochs[0]) != set(next(SubsampledShard(whole, fraction, seed=4).blocks(4, 0)).order)


@pytest.mark.parametrize("seed", range(3))
def test_with_few_rows_a_worker_the_average_comes_nearer_to_the_optimum(seed):
    problem = logistic(2000, 6, alpha=1e-3, seed=seed)
    settings = {"learning_rate": "invscaling", "eta0": 1.0, "max_iter": 100, "tol": None, "random_state": 0}
    plain, corrected = (
        SGDClassifier("log_loss", alpha=1e-3, n_jobs=40, engine="serial", algorithm=algorithm, **settings).fit(
            problem.X, problem.y
        )
        for algorithm in (SimuParallel(), SimuParallel(correction=0.25))
    )
    assert problem.gap(corrected.coef_, corrected.intercept_) < 0.75 * problem.gap(plain.coef_, plain.intercept_)


def test_the_second_run_is_no_progress_and_one_worker_is_serial():
    few = {"max_iter": 3, "tol": None, "random_state": 0}
    y = labels(X)
    model = SGDClassifier(algorithm=SimuParallel(correction=0.5), n_jobs=2, **few).fit(X, y)
    assert [worker["examples"] for worker in model.history_[0]["workers"]] == [600, 600]
    one = SGDClassifier(algorithm=SimuParallel(correction=0.5), n_jobs=1, **few).fit(X, y)
    serial = SGDClassifier(n_jobs=1, **few).fit(X, y)
    assert one.coef_.tobytes() == serial.coef_.tobytes()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_second_moments_stay_above_zero():
    y = labels(X)
    model = MLPClassifier((6,), algorithm=SimuParallel(correction=0.5), n_jobs=2, max_iter=3, random_state=0).fit(X, y)
    assert np.all(model._slots[len(model._slots) // 2 :] >= 0.0)
    assert np.isfinite(model.partial_fit(X, y).loss_)


def test_who_draws_from_all_rows_has_none_to_correct_by():
    with pytest.raises(InvalidArgumentError, match=r"partition='replicated'.*Use partition='shuffled'"):
        SimuParallel(partition="replicated", correction=0.5)
    with pytest.raises(InvalidArgumentError, match="correction"):
        SimuParallel(correction=1.0)
