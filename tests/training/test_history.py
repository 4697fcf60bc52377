"""``history_``: a list in all respects, tables that add up to it, and times that account for the whole fit."""

import copy
import json
import pickle
import sys

import numpy as np
import polars  # noqa: F401  (importing it sets an environment variable; tests may not)
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from parsgd import AsyncLocalSGD, LocalSGD, MiniBatch, SGDClassifier, Simulated, SimuParallel
from parsgd.errors import InvalidArgumentError, MissingDependencyError, ModelFileError
from parsgd.model_io import model_files
from parsgd.training.reporting.history import History, problem
from parsgd.training.reporting.history_stats import end_of, spans, traces, weights, worker_totals

X, Y = load_digits(return_X_y=True)
X = X[:400] / 16
Y = Y[:400] % 2


def fitted(**given):
    settings = {
        "max_iter": 3,
        "tol": None,
        "random_state": 0,
        "n_jobs": 2,
        "algorithm": LocalSGD(sync_every=0.5),
    } | given
    return SGDClassifier(**settings).fit(X, Y)


def test_a_history_is_a_list_of_dicts_that_keeps_its_kind():
    ours = fitted().history_
    assert isinstance(ours, History)
    assert ours == list(ours)
    assert isinstance(ours[1:], History)
    assert ours[1:] == list(ours)[1:]
    assert isinstance(ours[-1], dict)
    assert json.loads(json.dumps(ours))[0]["round"] == 0
    for again in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours), ours.copy()):
        assert type(again) is History
        assert again == ours


def test_a_history_comes_back_from_a_model_file(tmp_path):
    ours = fitted()
    model_files.save(ours, tmp_path / "m")
    theirs = model_files.load(tmp_path / "m").history_
    assert type(theirs) is History
    assert theirs.to_frame("workers").equals(ours.history_.to_frame("workers"))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("algorithm", [LocalSGD(sync_every=0.5), MiniBatch(), SimuParallel(), AsyncLocalSGD()])
def test_tables_add_up_to_the_history(algorithm, library):
    history = fitted(algorithm=algorithm, n_jobs=3).history_
    rounds, workers = (history.to_frame(kind, library) for kind in ("rounds", "workers"))
    assert type(rounds).__module__.startswith(library)
    assert len(rounds) == len(history)
    assert len(workers) == sum(len(entry["workers"]) for entry in history)
    total = sum(worker["examples"] for entry in history for worker in entry["workers"])
    assert rounds["examples"].sum() == workers["examples"].sum() == total >= 3 * 400
    assert list(rounds["loss"]) == [entry["loss"] for entry in history]
    assert list(rounds["n_workers"]) == [len(entry["workers"]) for entry in history]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_have_the_same_types_whatever_they_hold(library):
    full = fitted(engine=Simulated(rate=1e5, failures={1: 0.004}, latency_s=1e-4)).history_
    for kind in ("rounds", "workers", "lost"):
        empty = History().to_frame(kind, library)
        assert list(empty.columns) == list(full.to_frame(kind, library).columns)
        assert list(map(str, empty.dtypes)) == list(map(str, full.to_frame(kind, library).dtypes))
    lost = full.to_frame("lost", library)
    assert list(lost["worker"]) == [1]
    assert "failed" in lost["why"][0]


def test_a_score_that_is_not_there_is_nan():
    ours = fitted(early_stopping=True, algorithm=LocalSGD(sync_every=0.5)).history_
    scores = ours.to_frame()["score"]
    assert [np.isnan(score) for score in scores] == [entry["score"] is None for entry in ours]
    assert not scores.isna().all()


def test_what_to_frame_cannot_do_is_told(monkeypatch):
    with pytest.raises(InvalidArgumentError, match=r"'kind'.*Did you mean 'rounds'"):
        History().to_frame("round")
    with pytest.raises(InvalidArgumentError, match="'library'"):
        History().to_frame(library="numpy")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match=r"polars: pip install 'parsgd\[frames\]'"):
        History().to_frame(library="polars")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pandas or polars"):
        History().to_frame()


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        ["round"],
        [{"round": 0}],
        [{"workers": 3}],
        [{"workers": [1]}],
        [{"workers": [{}]}],
        [{"lost": [{"why": "?"}]}],
        [{"workers": [{"trace": [(1, 2)]}]}],
        [{"workers": [{"trace": "none"}]}],
    ],
)
def test_a_history_that_is_none_is_refused_when_a_file_is_opened(broken, tmp_path):
    assert problem(broken)
    ours = fitted()
    ours.history_ = broken
    model_files.save(ours, tmp_path / "m")
    with pytest.raises(ModelFileError, match="history_"):
        model_files.load(tmp_path / "m")


# -- accounting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["serial", "threads", Simulated(rate=1e5, latency_s=1e-3, merge_s=1e-3)])
@pytest.mark.parametrize("algorithm", [LocalSGD(sync_every=0.5), MiniBatch(), SimuParallel()])
def test_a_worker_s_time_is_accounted_for_to_the_end(engine, algorithm):
    history = fitted(engine=engine, algorithm=algorithm).history_
    for one in worker_totals(history):
        parts = one.computing + one.merging + one.checking + one.waiting
        assert parts == pytest.approx(end_of(history), rel=1e-6)
        assert one.examples == 600
        assert one.weight == pytest.approx(0.5)
    for entry in history:
        assert entry["merge_seconds"] >= 0.0
        assert entry["check_seconds"] >= 0.0


def test_of_workers_that_do_not_wait_only_computing_and_waiting_are_told():
    history = fitted(algorithm=AsyncLocalSGD()).history_
    for one in worker_totals(history, all_wait=False):
        assert one.merging == one.checking == 0.0
        assert one.computing + one.waiting == pytest.approx(max(end_of(history), one.computing))


def test_what_slow_workers_cost_is_the_waiting_of_the_others():
    engine = Simulated(speeds=[1.0, 0.25], rate=1e5)
    fast, slow = worker_totals(fitted(engine=engine).history_)
    assert slow.waiting == pytest.approx(0.0, abs=1e-9)
    assert fast.waiting == pytest.approx(0.75 * slow.computing)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 60), st.booleans())
def test_spans_put_together_lose_no_time(n_rounds, n_workers, most, in_turn):
    rng = np.random.default_rng(n_rounds)
    history, now = [], 0.0
    for number in range(n_rounds):
        seconds = rng.random(n_workers)
        now += float(seconds.max())
        workers = [{"worker": w, "seconds": float(seconds[w])} for w in range(n_workers)]
        history.append(
            {"round": number, "seconds": now, "merge_seconds": 0.5, "check_seconds": 0.25, "workers": workers}
        )
        now += 0.75
    whole, coarse = spans(history, in_turn=in_turn), spans(history, in_turn=in_turn, most=most)
    assert len(whole) == n_rounds * n_workers
    assert len(coarse) <= most + n_workers
    for found in (whole, coarse):
        assert sum(span.computing for span in found) == pytest.approx(sum(span.computing for span in whole))
        assert found[0].began == 0.0
        assert found[-1].merged == pytest.approx(end_of(history))
        assert [span.last_round for span in found] == sorted(span.last_round for span in found)
        assert all(span.began <= span.ended + 1e-9 <= span.merged + 2e-9 for span in found if not in_turn)


def test_weights_have_gaps_where_a_worker_is_gone():
    both = [{"worker": 0, "weight": 0.4}, {"worker": 1, "weight": 0.6}]
    assert weights([{"workers": both}, {"workers": both[1:]}]) == ([0, 1], [[0.4, None], [0.6, 0.6]])


def test_whoever_is_lost_for_good_waits_no_longer():
    def entry(now, numbers, lost=()):
        workers = [
            {"worker": n, "steps": 1, "examples": 1, "seconds": 0.5, "weight": 0.5, "loss": 1.0} for n in numbers
        ]
        return {"seconds": now, "merge_seconds": 0.0, "check_seconds": 0.0, "workers": workers, "lost": list(lost)}

    for replaced, waiting in ((False, 0.5), (True, 2.5)):
        lost = [{"worker": 1, "why": "gone", "replaced": replaced}]
        history = [entry(1.0, (0, 1)), entry(2.0, (0,), lost), entry(3.0, (0,))]
        assert [one.waiting for one in worker_totals(history)] == [1.5, waiting]


def test_traces_are_those_of_a_fit_of_one_round():
    model = fitted(algorithm=SimuParallel())
    found = traces(model.history_, 400)
    assert sorted(found) == [0, 1]
    assert [passes for passes, *_ in found[0]] == pytest.approx([1.0, 2.0, 3.0])
    assert traces(fitted().history_, 400) == {}


def test_histories_of_before_there_were_the_driver_s_times_can_be_read():
    old = History({k: v for k, v in entry.items() if not k.endswith("_seconds")} for entry in fitted().history_)
    assert old.to_frame()["merge_seconds"].isna().all()
    assert end_of(old) == old[-1]["seconds"]
    assert worker_totals(old)[0].merging == 0.0
    assert spans(old)[-1].merged == old[-1]["seconds"]
