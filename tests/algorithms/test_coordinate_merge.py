"""Merges per coordinate: the formula, its two limits, and the same bits on every engine."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from parsgd import (
    LocalSGD,
    MLPClassifier,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
)
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import coordinate_merge, merge_weights, sparse_reports
from parsgd.algorithms.merging.merge_rules import COORDINATE_RULES, merge_by_rule, required_by_rule
from parsgd.algorithms.merging.sparse_reports import compact, expand
from parsgd.core import Budget, FitState, Task, no_progress
from parsgd.data.sources.array_source import ArraySource
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm
from parsgd.testing.contracts._fixtures import small_report
from parsgd.utils.row_arrays import rows_of

THREE = {"positive": (1.0,) * 3, "negative": (1.0,) * 3}
MODELS = {
    "binary": Linear(13),
    "sparse": Linear(13, sparse=True, dtype="float32"),
    "three outputs": Linear(13, 3, **THREE),
    "averaged, l1": Linear(13, average=1, penalty="l1"),
    "adagrad": Linear(13, schedule="adagrad"),
    "network": Network((13, 4, 2), solver="sgd", sparse=True),
    "adam": Network((13, 4, 2), solver="adam", dtype="float32"),
}
every_model = pytest.mark.parametrize("name", MODELS)
every_rule = pytest.mark.parametrize("rule", COORDINATE_RULES)
ALGORITHMS = [
    *(LocalSGD(0.25, rule=rule) for rule in COORDINATE_RULES),
    LocalSGD(0.5, rule="coordinate", outer_optimizer="nesterov"),
    LocalSGD(0.5, rule="coordinate", outer_optimizer="adaptive"),
    *(WeightedAverage(rule=rule) for rule in COORDINATE_RULES),
    SimuParallel(rule="coordinate"),
    SimuParallel(rule="touched", correction=0.5),
]


def random_reports(model, seed, n_workers, visits=None):
    """A start state, and reports of workers that moved every value, also those of features without a visit."""
    rng = np.random.default_rng(seed)
    start, *arrived = np.abs(rng.standard_normal((1 + n_workers, model.size))).astype(model.dtype)
    if visits is None:
        visits = rng.integers(0, 4, (n_workers, model.n_features)) * rng.integers(0, 2, (n_workers, 1))
    reports = []
    for worker, state in enumerate(arrived):
        state[model.additive] += start[model.additive]
        counts = np.asarray(visits[worker], dtype=np.int32)
        report = replace(small_report(worker, state), visits=counts, examples=int(rng.integers(1, 30)))
        reports.append(report)
    return start, reports


def reference(model, start, reports, once):
    """The formula in float64, value by value."""
    states = np.array([report.state for report in reports], dtype=np.float64)
    examples = np.array([report.examples for report in reports], dtype=np.float64)
    weights = np.tile(examples[:, None] / examples.sum(), model.size)
    for part in model.feature_parts:
        for feature in range(model.n_features):
            counts = np.array([report.visits[feature] for report in reports], dtype=np.float64)
            counts = np.sign(counts) if once else counts
            if counts.any():
                at = part.start + feature * part.width
                weights[:, at : at + part.width] = (counts / counts.sum())[:, None]
    weights[:, model.additive] = 1.0
    return start + (weights * (states - start)).sum(axis=0)


@every_model
@every_rule
@given(seed=st.integers(0, 999), n_workers=st.integers(1, 20))
def test_a_merge_is_the_formula(name, rule, seed, n_workers):
    model = MODELS[name]
    start, reports = random_reports(model, seed, n_workers)
    ours = merge_by_rule(rule, FitState(model, start), reports)
    theirs = reference(model, start, reports, rule == "touched")
    tolerance = 1e-6 if model.dtype == "float32" else 1e-12
    np.testing.assert_allclose(ours.state, theirs, rtol=tolerance, atol=tolerance)
    assert ours.state.dtype == start.dtype
    assert ours.weights.sum() == pytest.approx(1.0)


@every_model
def test_with_every_feature_in_every_row_it_is_the_mean_by_examples(name):
    model = replace(MODELS[name], schedule="constant")
    start, reports = random_reports(model, 3, 4, np.ones((4, 13)))
    full = [replace(report, visits=report.visits * report.examples) for report in reports]
    by_examples = merge_weights.by_examples([report.examples for report in full])
    theirs = merge_weights.merge(start, full, by_examples)
    for visited in (full, [replace(report, visits=None) for report in full]):
        ours = merge_by_rule("coordinate", FitState(model, start), visited)
        np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-6)
        np.testing.assert_allclose(ours.weights, by_examples)


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_disjoint_displacements_are_summed_bit_for_bit(rule, dtype):
    model = Linear(12, dtype=dtype, sparse=True)
    start, reports = random_reports(model, 0, 3, np.kron(np.eye(3), [1, 2, 0, 4]))
    ours = merge_by_rule(rule, FitState(model, start), reports).state
    for worker, report in enumerate(reports):
        seen = 4 * worker + np.array([0, 1, 3])
        assert ours[seen].tobytes() == report.state[seen].tobytes()


@every_model
@every_rule
def test_what_no_worker_moved_stays_bit_for_bit(name, rule):
    """The engines need not send it."""
    model = MODELS[name]
    visits = np.arange(7)[:, None] * (np.arange(13) % 3 > 0)
    start, reports = random_reports(model, 1, 7, visits)
    for report in reports:
        for part in model.feature_parts:
            rows = slice(part.start, part.start + 13 * part.width)
            arrived, origin = (state[rows].reshape(13, -1) for state in (report.state, start))
            arrived[report.visits == 0] = origin[report.visits == 0]
    ours = merge_by_rule(rule, FitState(model, start), reports).state
    unvisited = sum(report.visits for report in reports) == 0
    assert unvisited.any()
    for part in model.feature_parts:
        if part.start not in range(model.nonnegative.start, model.nonnegative.stop):
            rows = slice(part.start, part.start + 13 * part.width)
            merged, origin = (state[rows].reshape(13, -1)[unvisited] for state in (ours, start))
            np.testing.assert_array_equal(merged, origin)


@every_rule
def test_a_merge_writes_to_nothing_and_a_single_moved_state_comes_back(rule):
    model = MODELS["adagrad"]
    start, reports = random_reports(model, 2, 3)
    kept = [start.copy(), *(report.state.copy() for report in reports)]
    merge_by_rule(rule, FitState(model, start), reports)
    assert all(np.array_equal(*pair) for pair in zip(kept, [start, *(r.state for r in reports)], strict=True))
    idle = [replace(report, steps=0, examples=0) for report in reports]
    merged = merge_by_rule(rule, FitState(model, start), [idle[0], reports[1], idle[2]])
    assert merged.state.tobytes() == reports[1].state.tobytes()
    assert list(merged.weights) == [0.0, 1.0, 0.0]
    assert not np.shares_memory(merged.state, reports[1].state)
    assert merge_by_rule(rule, FitState(model, start), idle).state is start


def test_second_moments_do_not_end_below_zero():
    model = MODELS["adam"]
    start, reports = random_reports(model, 5, 9, np.zeros((9, 13)))
    for report in reports:
        report.state[model.nonnegative] = 0.0
    for examples in range(1, 40):
        uneven = [replace(report, examples=examples + 7 * report.worker) for report in reports]
        merged = merge_by_rule("coordinate", FitState(model, start), uneven).state
        assert np.all(merged[model.nonnegative] >= 0.0)


# -- sparse reports --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shrinks", [False, True])
@every_model
@every_rule
def test_sparse_reports_merge_to_the_bits_of_dense_ones(name, rule, shrinks):
    model = replace(MODELS[name], **({"sizes": (40_000, 4, 2)} if "sizes" in vars(MODELS[name]) else {}))
    model = replace(model, n_features=40_000) if isinstance(model, Linear) else model
    rng = np.random.default_rng(0)
    visits = rng.integers(1, 5, (4, model.n_features)) * (rng.random((4, model.n_features)) < 0.1)
    start, reports = random_reports(model, 1, 4, visits)
    dense, compacted = [], []
    for report in reports:
        factors = None
        for number, part in enumerate(model.feature_parts):
            rows = slice(part.start, part.start + model.n_features * part.width)
            arrived, origin = (state[rows].reshape(-1, part.width) for state in (report.state, start))
            untouched = report.visits == 0
            arrived[untouched] = origin[untouched]
            if shrinks and number == 0 and report.worker != 2:
                factors = rng.uniform(0.5, 1.0, part.width).astype(start.dtype)
                arrived[untouched] *= factors
        dense.append(report)
        compacted.append(compact(report, model, start, factors))
        assert compacted[-1].sparse_state is not None
        assert compacted[-1].n_bytes < report.n_bytes
        back = expand(compacted[-1], model, start)
        assert back.state.tobytes() == report.state.tobytes()
        np.testing.assert_array_equal(back.visits, report.visits)
    fit_state = FitState(model, start)
    theirs = merge_by_rule(rule, fit_state, dense)
    # where the report of one worker is dense, so is the merge
    for ours in (compacted, [dense[0], *compacted[1:]]):
        merged = merge_by_rule(rule, fit_state, ours)
        assert merged.state.tobytes() == theirs.state.tobytes()
        assert merged.weights.tobytes() == theirs.weights.tobytes()


@pytest.mark.parametrize("reason", ["many visits", "moved without a visit", "no visits"])
def test_a_report_is_dense_where_a_sparse_one_would_be_larger_or_wrong(reason):
    model = Linear(100, sparse=True)
    visits = np.arange(100) % 5 == 0
    start, reports = random_reports(model, 0, 1, [visits])
    report = reports[0]
    model.views(report.state)["coef"][~visits] = model.views(start)["coef"][~visits]
    if reason == "many visits":
        report = replace(report, visits=np.ones(100, dtype=np.int32))
    elif reason == "no visits":
        report = replace(report, visits=None)
    else:
        assert compact(report, model, start, None).sparse_state is not None
        report.state[1] += 1.0
    assert compact(report, model, start, None) is report


@pytest.mark.parametrize(
    ("settings", "is_sparse"),
    [
        (dict(penalty=None), True),
        (dict(penalty="l2", alpha=1e-3), True),
        (dict(penalty="l1"), True),  # the penalty of sparse rows waits for the next visit
        (dict(penalty=None, average=1), False),
        (dict(penalty=None, schedule="adagrad", eta0=0.1), True),
        (dict(penalty="l2", schedule="adagrad", eta0=0.1), True),
        (dict(n_outputs=3, **THREE), True),
        (dict(n_outputs=3, loss="softmax", dtype="float32", **THREE), True),
    ],
    ids=repr,
)
def test_tasks_with_few_visits_make_sparse_reports_that_are_exact(settings, is_sparse):
    rng = np.random.default_rng(0)
    X = sparse.random(60, 6000, 0.002, "csr", random_state=0, dtype=np.dtype(settings.get("dtype", "float64")))
    model = Linear(6000, sparse=True, **{"loss": "log_loss", **settings})
    y = rng.integers(0, 3, 60) if model.n_outputs > 1 else np.sign(rng.standard_normal(60)).astype(X.dtype)
    shard = ArraySource(rows_of(X, y)).split(1, 3, "shuffled")[0]
    start = model.init(0)
    model.views(start)["coef"][:] = rng.standard_normal((6000, model.n_outputs))
    task = Task(0, 0, start, 7, Budget(60), n_workers=2, lr_scale=np.ones(model.n_outputs))
    dense, ours = (run(model, shard, replace(task, counts_visits=asked), no_progress) for asked in (False, True))
    assert (ours.sparse_state is not None) == is_sparse
    assert expand(ours, model, start).state.tobytes() == dense.state.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [LocalSGD(0.1, rule="coordinate"), SimuParallel(rule="touched", correction=0.5)])
def test_a_fit_with_sparse_reports_has_the_bits_of_dense_ones(monkeypatch, algorithm):
    X = sparse.random(200, 5000, 0.002, "csr", random_state=0)
    y = np.arange(200) % 2

    def fitted(engine):
        model = SGDClassifier("log_loss", algorithm=algorithm, engine=engine, n_jobs=3, max_iter=2, tol=None)
        return model.set_params(random_state=0, alpha=1e-3).fit(X, y).coef_.tobytes()

    ours = [fitted(engine) for engine in ("serial", "threads")]
    monkeypatch.setattr(sparse_reports, "_LEAST_VISITED", 0.0)
    assert ours == [fitted("serial")] * 2


# -- visits ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), layout=st.sampled_from(["dense", "csr", "csr, 64 bits"]), examples=st.integers(1, 70))
def test_visits_are_the_rows_in_which_a_feature_is_not_zero(seed, layout, examples):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 6)) * (rng.random((30, 6)) < 0.4)
    given_rows = X
    if layout != "dense":
        given_rows = sparse.csr_matrix(np.where(X == 0.0, 1.0, X))
        given_rows.data[X.ravel() == 0.0] = 0.0  # zeros that the matrix stores
        if layout == "csr, 64 bits":
            given_rows.indices, given_rows.indptr = (
                a.astype(np.int64) for a in (given_rows.indices, given_rows.indptr)
            )
    model = Linear(6, sparse=layout != "dense", loss="log_loss", schedule="constant")
    shard = ArraySource(rows_of(given_rows, np.ones(30))).split(1, 3, "shuffled")[0]
    task = Task(0, 0, model.init(0), 7, Budget(examples), cursor=5, counts_visits=True, n_workers=2)
    report = expand(run(model, shard, task, no_progress), model, task.state)
    expected, left, cursor = np.zeros(6, dtype=int), examples, 5
    while left:
        epoch, skip = divmod(cursor, 30)
        order = np.concatenate([block.order for block in shard.blocks(7, epoch, skip)])[:left]
        expected += np.count_nonzero(X[order], axis=0)
        left, cursor = left - len(order), cursor + len(order)
    np.testing.assert_array_equal(report.visits, expected)
    assert run(model, shard, replace(task, counts_visits=False), no_progress).visits is None
    assert report.visits.dtype == np.int32


# -- fits ------------------------------------------------------------------------------------------------------------


def problem(layout="dense", rows=240, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 20)).astype(dtype)
    X[rng.random(X.shape) < 0.8] = 0.0
    score = X @ rng.standard_normal(20)
    return (sparse.csr_matrix(X) if layout == "csr" else X), score


def estimators(**settings):
    """Estimators of all kinds, each with its targets."""
    _, score = problem()
    usual = {"max_iter": 3, "tol": None, "random_state": 0, **settings}
    labels, classes = score > 0, np.digitize(score, [-1, 1])
    network = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, "batch_size": 16, **settings}
    return [
        (SGDClassifier("log_loss", **usual), labels),
        (SGDClassifier("log_loss", learning_rate="adagrad", eta0=0.1, **usual), labels),
        (SGDClassifier("hinge", average=True, **{"penalty": "elasticnet", **usual}), classes),
        (SGDClassifier("softmax", **usual), classes),
        (SGDRegressor(**{"penalty": "l1", **usual}), score),
        (SGDOneClassSVM(**usual), None),
        (MLPClassifier(solver="adam", **network), classes),
        (MLPClassifier(solver="sgd", **network), labels),
    ]


def bits(model):
    if isinstance(model, MLPClassifier):
        return b"".join(part.tobytes() for part in (*model.coefs_, *model.intercepts_))
    bias = model.offset_ if isinstance(model, SGDOneClassSVM) else model.intercept_
    return model.coef_.tobytes() + bias.tobytes()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # two epochs are not enough
@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_every_engine_gives_the_bits_of_the_serial_engine(number, layout):
    X, _ = problem(layout)
    fits = []
    for engine in ("serial", "threads", "simulated"):
        model, y = estimators(algorithm=LocalSGD(0.25, rule="coordinate"), engine=engine, n_jobs=3)[number]
        fits.append(bits(model.fit(X, y)))
    assert fits[0] == fits[1] == fits[2]
    assert fits[0]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # two epochs are not enough
@pytest.mark.parametrize("number", range(8))
def test_sparse_rows_give_the_model_of_dense_rows(number):
    settings = {"algorithm": LocalSGD(0.25, rule="coordinate"), "engine": "serial", "n_jobs": 3}
    (dense, y), (csr, _) = estimators(**settings)[number], estimators(**settings)[number]
    if not isinstance(dense, MLPClassifier):
        # rates of the intercept differ between the layouts
        dense.set_params(fit_intercept=False)
        csr.set_params(fit_intercept=False)
    if number in (2, 4):
        # an l1 penalty also truncates the weights of zeros in dense rows
        dense.set_params(penalty="l2")
        csr.set_params(penalty="l2")
    ours, theirs = csr.fit(problem("csr")[0], y), dense.fit(problem()[0], y)
    network = isinstance(dense, MLPClassifier)
    pairs = zip(ours.coefs_, theirs.coefs_, strict=True) if network else [(ours.coef_, theirs.coef_)]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
    assert [w["weight"] for w in ours.history_[-1]["workers"]] == [w["weight"] for w in theirs.history_[-1]["workers"]]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_algorithms_keep_their_contract(algorithm):
    check_algorithm(algorithm)
    assert algorithm.traits.reports_visits


@every_rule
def test_one_worker_is_serial_sgd(rule):
    X, score = problem("csr")
    settings = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}
    ours, theirs = (
        SGDClassifier("log_loss", algorithm=algorithm, **settings).fit(X, score > 0)
        for algorithm in (LocalSGD(rule=rule), LocalSGD())
    )
    assert ours.coef_.tobytes() == theirs.coef_.tobytes()


def test_the_history_has_each_workers_share_of_the_visits():
    X, score = problem("csr")
    for rule in COORDINATE_RULES:
        model = SGDClassifier("log_loss", algorithm=LocalSGD(1.0, rule=rule), n_jobs=2, max_iter=1, engine="serial")
        model.set_params(tol=None, random_state=0).fit(X, score > 0)
        ours = [worker["weight"] for worker in model.history_[-1]["workers"]]
        assert sum(ours) == pytest.approx(1.0)
        if rule == "coordinate":
            # shares of whole visits, of which there are as many as stored values
            np.testing.assert_allclose(np.multiply(ours, X.nnz), np.rint(np.multiply(ours, X.nnz)))
        else:
            assert ours == [0.5, 0.5]  # both workers visited all features


@pytest.mark.parametrize("rule", [*COORDINATE_RULES, "uniform"])
def test_only_these_rules_ask_for_visits(rule):
    assert LocalSGD(rule=rule).traits.reports_visits == (rule != "uniform")
    assert required_by_rule(rule) == ({"features"} if rule != "uniform" else set())


def test_shares_without_a_visit_are_by_examples():
    _, reports = random_reports(MODELS["binary"], 0, 2, np.zeros((2, 13)))
    reports = [replace(report, examples=examples) for report, examples in zip(reports, (30, 10), strict=True)]
    assert list(coordinate_merge.shares(reports, once=True)) == [0.75, 0.25]
