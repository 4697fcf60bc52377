"""Copies of shared weights: which part of a worker's increments arrives in the shared weights."""

import numpy as np
import pytest

from parsgd.kernels.shared import shared_scalars as row
from parsgd.kernels.shared.private_weights import PrivateWeights, exchange_all

N_WEIGHTS = 40


def copies(w, applied=None):
    """Return a worker's copies of the shared weights."""
    applied = w[:0] if applied is None else applied
    arrays = (w.copy(), w.copy(), applied.copy(), applied.copy())
    return PrivateWeights(*arrays, np.zeros(1), np.zeros(2, dtype=np.int64))


def scalars(n_workers):
    shared = np.zeros((row.N_LINEAR, 1))
    shared[row.N_WORKERS], shared[row.SCALE] = n_workers, 1.0
    return shared


def exchange(w, shared, worker, applied=None):
    exchange_all(w, w[:0] if applied is None else applied, 1e-6, 0, shared, worker)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_workers", [2, 5])
def test_increments_of_one_worker_count_in_full_and_those_of_several_by_their_share(n_workers, dtype):
    start = np.random.default_rng(0).standard_normal(N_WEIGHTS).astype(dtype)
    w, shared = start.copy(), scalars(n_workers)
    first, second = copies(w), copies(w)
    first.own[:20] += 1.0
    second.own[10:30] += 2.0
    exchange(w, shared, first)
    assert w.tobytes() == first.own.tobytes()
    exchange(w, shared, second)
    moved = np.repeat([1.0, 1.0 + 2.0 / n_workers, 2.0, 0.0], 10)
    np.testing.assert_allclose(w, start + moved, rtol=1e-6)
    assert w.tobytes() == second.own.tobytes() == second.base.tobytes()
    exchange(w, shared, first)
    assert w.tobytes() == first.own.tobytes() == second.own.tobytes()


def test_an_applied_penalty_counts_like_the_weight_that_it_was_applied_to():
    w, applied, shared = np.ones(N_WEIGHTS), np.zeros(N_WEIGHTS), scalars(2)
    first, second = copies(w, applied), copies(w, applied)
    for worker in (first, second):
        worker.own[:20] -= 0.25
        worker.own_l1[:20] -= 0.25
    second.own[20:] -= 0.5
    second.own_l1[20:] -= 0.5
    for worker in (first, second):
        exchange(w, shared, worker, applied)
    # the first 20: one increment in full, the other by half
    np.testing.assert_array_equal(w, 1.0 + applied)
    np.testing.assert_array_equal(applied, np.repeat([-0.375, -0.5], 20))


def test_weights_whose_scale_was_folded_meanwhile_keep_their_value():
    w, shared = np.full(N_WEIGHTS, 4.0), scalars(2)
    first, second = copies(w), copies(w)
    first.own[:10] += 2.0
    # another worker shrinks all weights to a millionth, which is folded by the next to begin
    shared[row.SCALE] = 1e-7
    exchange(w, shared, second)
    assert shared[row.SCALE, 0] == 1.0
    np.testing.assert_allclose(w, 4e-7)
    exchange(w, shared, first)
    # an increment of 2 at the old scale, in full or by half: rounding decides whether the weight was moved by others
    assert min(np.abs(w[:10] / at - 1.0).max() for at in (6e-7, 5e-7)) < 1e-6
    np.testing.assert_allclose(w[10:], 4e-7)
    np.testing.assert_allclose(first.own, w)


def test_nothing_is_written_where_nothing_has_moved():
    w, shared = np.arange(N_WEIGHTS, dtype=float), scalars(2)
    worker = copies(w)
    worker.own[-1] = 0.0
    w[0] = np.nan
    worker.base[0] = worker.own[0] = np.nan
    before = w.copy()
    exchange(w, shared, worker)
    np.testing.assert_array_equal(w[1:-1], before[1:-1])
    assert w[-1] == 0.0
