"""How rows in memory are dealt to workers, and in which order they are visited."""

import pickle
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd import SGDClassifier, SGDRegressor
from parsgd.data.sources.array_source import ArraySource
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

splits = st.fixed_dictionaries(
    {"n_rows": st.integers(1, 300), "n_workers": st.integers(1, 40), "seed": st.integers(0, 2**31 - 1)}
)


def source(n_rows, **settings):
    return ArraySource(rows_of(np.ones((n_rows, 1)), np.ones(n_rows)), **settings)


def order_of(shard, seed, epoch):
    (block,) = shard.blocks(seed, epoch)
    return block.order.tolist()


@given(split=splits)
def test_rows_are_dealt_evenly_and_every_shard_keeps_stored_order(split):
    shards = source(split["n_rows"], shuffle=False).split(split["n_workers"], split["seed"])
    orders = [order_of(shard, 0, 0) for shard in shards]
    assert sorted(chain(*orders)) == list(range(split["n_rows"]))
    assert all(order == sorted(order) for order in orders)
    sizes = [shard.n_rows for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(split=splits, epoch=st.integers(0, 6))
def test_a_shuffled_epoch_is_a_permutation_of_the_shard(split, epoch):
    for shard in source(split["n_rows"]).split(split["n_workers"], split["seed"]):
        assert sorted(order_of(shard, split["seed"], epoch)) == shard.numbers.tolist()


@given(split=splits, epoch=st.integers(0, 4), neighbours=st.integers(2, 9), stored=st.booleans())
def test_runs_of_neighbours_stay_together_and_lose_no_row(split, epoch, neighbours, stored):
    rows = source(split["n_rows"], neighbours=neighbours, shuffle=not stored)
    shards = rows.split(split["n_workers"], split["seed"])
    orders = [order_of(shard, split["seed"], epoch) for shard in shards]
    assert sorted(chain(*orders)) == list(range(split["n_rows"]))
    assert max(map(len, orders)) - min(map(len, orders)) <= 1
    for order in orders:
        if stored:
            assert order == sorted(order)
        if len(orders) == 1:  # one worker's order is scikit-learn's
            continue
        # each run is met once: its rows are not strewn over the epoch
        runs = [row // neighbours for row in order]
        met = [run for place, run in enumerate(runs) if place == 0 or runs[place - 1] != run]
        assert len(met) == len(set(met))


def test_runs_are_shuffled_anew_every_epoch_and_alike_where_rows_were_copied():
    shard = source(400, neighbours=8).split(2, 3)[0]
    orders = [order_of(shard, 3, epoch) for epoch in range(3)]
    assert len(set(map(tuple, orders))) == 3
    copied = pickle.loads(pickle.dumps(shard.portable()))
    again = [[int(shard.numbers[place]) for place in order_of(copied, 3, epoch)] for epoch in range(3)]
    assert again == orders


@pytest.mark.parametrize(("sort", "together"), [(False, 8), (True, 1)])
def test_large_data_are_dealt_in_runs_unless_neighbours_have_like_targets(monkeypatch, sort, together):
    from parsgd.data.sources import array_source

    monkeypatch.setattr(array_source, "_CACHED_BYTES", 1000)
    y = np.random.default_rng(0).integers(0, 2, 2000).astype(float)
    rows = rows_of(np.ones((2000, 1)), np.sort(y) if sort else y)
    order = np.array(order_of(ArraySource(rows).split(2, 0)[0], 0, 0))
    neighbouring = np.mean(np.diff(order) == 1)
    assert abs(neighbouring - (1 - 1 / together)) < 0.02


def test_one_worker_has_the_rows_in_their_own_order():
    (shard,) = source(50, shuffle=False).split(1, 12345)
    assert order_of(shard, 1, 3) == list(range(50))


def test_another_seed_deals_otherwise():
    first, same, other = (source(100).split(2, seed)[0].numbers.tolist() for seed in (1, 1, 2))
    assert first == same != other


def test_dealing_and_visiting_have_nothing_in_common():
    # the first worker is visited in the order of the fit's own seed, which must not be the order of dealing
    dealt = source(100).split(2, 7)[0]
    assert order_of(dealt, 7, 0) != dealt.numbers.tolist()
    assert abs(np.corrcoef(order_of(dealt, 7, 0), np.arange(50))[0, 1]) < 0.5


def test_epochs_may_be_asked_for_in_any_order():
    (shard,) = source(60).split(1, 0)
    straight = [order_of(shard, 5, epoch) for epoch in range(5)]
    assert [order_of(shard, 5, epoch) for epoch in (4, 0, 2, 3, 1)] == [straight[epoch] for epoch in (4, 0, 2, 3, 1)]
    assert order_of(shard, 6, 4) != straight[4]
    assert order_of(shard, 5, 4) == straight[4]
    assert len(set(map(tuple, straight))) == 5


def test_a_pickled_shard_forgets_only_what_it_can_find_again():
    shard = source(60).split(2, 0)[1]
    expected = order_of(shard, 5, 3)
    copy = pickle.loads(pickle.dumps(shard))
    assert copy._seen is None
    assert order_of(copy, 5, 3) == expected


def test_a_subset_is_all_that_is_dealt():
    subset = np.array([2, 3, 5, 7, 11, 13])
    part = source(20, subset=subset)
    assert part.n_rows == 6
    assert sorted(number for shard in part.split(4, 0) for number in shard.numbers) == subset.tolist()


def test_rows_are_seen_and_cannot_be_written_to():
    for X in (unit_rows(10, 3), unit_rows(10, 3, layout="csr")):
        rows = rows_of(X, targets(X))
        arrays = [part for part in (*rows.x, rows.y, rows.weight) if isinstance(part, np.ndarray)]
        assert not any(array.flags.writeable for array in arrays)
        assert np.shares_memory(rows.x.data, X.data)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_the_cost_of_a_row_is_the_values_it_stores(layout):
    X = unit_rows(10, 3, layout=layout)
    stored = X.nnz if layout == "csr" else X.size
    assert ArraySource(rows_of(X, targets(X))).split(2, 0)[0].cost == stored / 10


def test_indices_out_of_order_and_stored_zeros_change_nothing_but_rounding():
    odd = unit_rows(80, 6, layout="csr")
    odd.data[::5] = 0.0
    plain = odd.copy()
    plain.eliminate_zeros()
    for row in range(80):  # backwards
        part = slice(odd.indptr[row], odd.indptr[row + 1])
        odd.data[part], odd.indices[part] = odd.data[part][::-1].copy(), odd.indices[part][::-1].copy()
    odd.has_sorted_indices = False
    assert odd.nnz > plain.nnz
    for kind, y in ((SGDClassifier, labels(plain)), (SGDClassifier, labels(plain, 3)), (SGDRegressor, targets(plain))):
        ours, theirs = (kind(max_iter=5, tol=None, random_state=0, n_jobs=1).fit(X, y) for X in (odd, plain))
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-9)


def test_workers_of_one_common_order_share_it_in_memory_and_find_it_again_alone():
    rows = rows_of(np.ones((50, 2)), np.arange(50.0))
    shards = ArraySource(rows).split(3, 1, "common_order")
    for epoch in (0, 1, 2, 5, 1):
        orders = [next(iter(shard.blocks(7, epoch))).order for shard in shards]
        assert all(np.shares_memory(order, orders[0]) for order in orders)
        # far from the others (in another process) a worker finds the same order by itself
        alone = pickle.loads(pickle.dumps(shards[2]))
        np.testing.assert_array_equal(next(iter(alone.blocks(7, epoch))).order, orders[0])
    early, late = shards[0], shards[1]
    for epoch in range(6):
        next(iter(late.blocks(7, epoch)))
    np.testing.assert_array_equal(
        next(iter(early.blocks(7, 2))).order, next(iter(pickle.loads(pickle.dumps(early)).blocks(7, 2))).order
    )
