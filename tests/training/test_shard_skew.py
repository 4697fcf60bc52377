"""Shards that are unlike one another are spoken of; shards that are alike are not."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from parsgd import LocalSGD, SGDClassifier, SGDRegressor, SimuParallel, WeightedAverage
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import ShardSkewWarning
from parsgd.training.schedule_advance import worker_seed
from parsgd.training.shard_skew import skew_warning
from parsgd.utils.row_arrays import rows_of


def said(X, y, n_workers=4, shuffle=True):
    shards = ArraySource(rows_of(X, y), shuffle).split(n_workers, 1, "contiguous")
    return skew_warning(shards, [worker_seed(1, worker) for worker in range(n_workers)])


def features(rng, n_rows, kind):
    """Independent rows, of the kinds that statistics of means get wrong most easily."""
    return {
        "normal": lambda: rng.standard_normal((n_rows, 5)),
        "heavy": lambda: rng.standard_cauchy((n_rows, 5)),
        "rare": lambda: (rng.random((n_rows, 40)) < 0.02).astype(float),
        "constant": lambda: np.ones((n_rows, 3)),
        "far": lambda: 1e6 + rng.standard_normal((n_rows, 3)),
        "wide": lambda: rng.exponential(size=(n_rows, 700)),
    }[kind]()


def targets(rng, n_rows, kind):
    return {
        "two": lambda: np.where(rng.random(n_rows) < 0.5, 1.0, -1.0),
        "rare class": lambda: np.where(rng.random(n_rows) < 0.01, 1.0, -1.0),
        "many classes": lambda: rng.integers(0, 50, n_rows),
        "numbers": lambda: rng.standard_normal(n_rows),
        "counts": lambda: rng.poisson(2.0, n_rows).astype(float),
        "heavy": lambda: rng.standard_cauchy(n_rows),
        "one": lambda: np.ones(n_rows),
    }[kind]()


@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(2, 1500),
    n_workers=st.integers(2, 40),
    kinds=st.tuples(
        st.sampled_from(["normal", "heavy", "rare", "constant", "far", "wide"]),
        st.sampled_from(["two", "rare class", "many classes", "numbers", "counts", "heavy", "one"]),
    ),
    layout=st.sampled_from([np.asarray, sparse.csr_matrix]),
)
def test_no_alarm_where_rows_are_in_random_order(seed, n_rows, n_workers, kinds, layout):
    rng = np.random.default_rng(seed)
    X, y = features(rng, n_rows, kinds[0]), targets(rng, n_rows, kinds[1])
    assert said(layout(X), y, n_workers) is None


@pytest.mark.parametrize("n_workers", [2, 10])
def test_no_alarm_in_five_hundred_random_sets(n_workers):
    rng = np.random.default_rng(0)
    for _ in range(500):
        X = np.column_stack([features(rng, 300, "normal"), features(rng, 300, "rare")])
        assert said(X, targets(rng, 300, "two"), n_workers) is None


@pytest.mark.parametrize("n_rows", [200, 20_000])
@pytest.mark.parametrize("n_workers", [2, 5])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
class TestSorted:
    def test_by_classes(self, n_rows, n_workers, shuffle, layout):
        rng = np.random.default_rng(0)
        X, y = features(rng, n_rows, "normal"), np.sort(targets(rng, n_rows, "two"))
        assert "target" in said(layout(X), y, n_workers, shuffle)

    def test_by_many_classes(self, n_rows, n_workers, shuffle, layout):
        rng = np.random.default_rng(0)
        y = np.sort(rng.integers(0, 8, n_rows))
        assert "% of all" in said(layout(features(rng, n_rows, "normal")), y, n_workers, shuffle)

    def test_by_a_target_of_numbers(self, n_rows, n_workers, shuffle, layout):
        rng = np.random.default_rng(0)
        y = np.sort(targets(rng, n_rows, "numbers"))
        assert "mean target" in said(layout(features(rng, n_rows, "normal")), y, n_workers, shuffle)

    def test_by_a_feature(self, n_rows, n_workers, shuffle, layout):
        rng = np.random.default_rng(0)
        X = features(rng, n_rows, "normal")
        X = X[np.argsort(X[:, 3])]
        text = said(layout(X), targets(rng, n_rows, "two"), n_workers, shuffle)
        assert "feature 3" in text


def test_it_names_the_worker_and_the_numbers():
    rng = np.random.default_rng(0)
    y = targets(rng, 4000, "two")
    y[2000:3000] = 1.0
    text = said(features(rng, 4000, "normal"), y)
    assert text.startswith("The rows of worker 2 are unlike the others': target")
    assert "of 100% of them" in text or "of 0% of them" in text
    assert "Shuffle the rows once" in text


def test_workers_without_rows_are_passed_over():
    assert said(np.ones((1, 2)), np.ones(1), 3) is None
    assert said(np.arange(6.0).reshape(3, 2), np.arange(3.0), 5) is None


def test_looking_changes_nothing_of_what_the_workers_see():
    source = ArraySource(rows_of(np.arange(40.0).reshape(20, 2), np.arange(20.0)))
    looked_at, untouched = (source.split(2, 1, "contiguous") for _ in range(2))
    skew_warning(looked_at, [5, 6])
    for one, other in zip(looked_at, untouched, strict=True):
        for epoch in (0, 1, 0):
            np.testing.assert_array_equal(next(one.blocks(5, epoch)).order, next(other.blocks(5, epoch)).order)


SORTED_X = np.random.default_rng(0).standard_normal((400, 3))
SORTED_Y = np.repeat([0, 1], 200)
FEW = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 2}


@pytest.mark.parametrize(
    "algorithm", [SimuParallel(partition="contiguous"), WeightedAverage(partition="contiguous")], ids=repr
)
def test_a_fit_warns_of_a_sorted_file(algorithm):
    with pytest.warns(ShardSkewWarning, match="worker"):
        SGDClassifier(algorithm=algorithm, **FEW).fit(SORTED_X, SORTED_Y)
    with pytest.warns(ShardSkewWarning, match="mean target"):
        SGDRegressor(algorithm=algorithm, **FEW).fit(SORTED_X, np.arange(400.0))


@pytest.mark.parametrize(
    "algorithm", [SimuParallel(), WeightedAverage(), LocalSGD(), SimuParallel(partition="replicated")], ids=repr
)
def test_dealt_at_random_a_sorted_file_is_no_matter(algorithm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SGDClassifier(algorithm=algorithm, **FEW).fit(SORTED_X, SORTED_Y)
        SGDClassifier(algorithm=SimuParallel(partition="contiguous"), **{**FEW, "n_jobs": 1}).fit(SORTED_X, SORTED_Y)


def test_rows_of_a_torch_data_set_are_not_compared():
    torch = pytest.importorskip("torch")
    source = pytest.importorskip("parsgd.data.sources.torch_source")
    data = torch.utils.data.TensorDataset(torch.arange(64.0)[:, None], torch.arange(64) // 32)
    shards = source.TorchSource(data, torch.utils.data.default_collate).split(2, 1, "contiguous")
    assert skew_warning(shards, [1, 2]) is None
