"""The simulated engine with estimators and algorithms of all kinds, and what it refuses."""

import math

import numpy as np
import pytest
from sklearn.base import clone

from parsgd import LocalSGD, MLPClassifier, SGDClassifier, SGDRegressor, Simulated, load, save
from parsgd.core import MergeResult, no_progress
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(400, 5)
Y = targets(X)
TWO_A_PASS = LocalSGD(sync_every=0.5)


def fit(engine, algorithm=TWO_A_PASS, **settings):
    settings = {"max_iter": 4, "tol": None, "random_state": 0, **settings}
    return SGDRegressor(engine=engine, algorithm=algorithm, **settings).fit(X, Y)


class OneAtATime(LocalSGD):
    """Goes on as soon as one worker has reported, and remembers whose reports came."""

    def __init__(self):
        super().__init__(sync_every=0.1)
        object.__setattr__(self, "came", [])

    def quorum(self, n_workers):
        return 1

    def merge(self, standing, reports):
        (report,) = reports
        self.came.append(report.worker)
        return MergeResult(0.5 * (standing.state + report.state), np.ones(1), standing.memory)


def test_who_is_twice_as_fast_reports_twice_as_often():
    algorithm = OneAtATime()
    model = fit(Simulated(speeds=(1.0, 2.0), rate=1024.0), algorithm, max_iter=2)
    # at every second report of the fast one there is a tie, and the first worker is first
    assert algorithm.came[:8] == [1, 0, 1, 1, 0, 1, 1, 0]
    times = [entry["seconds"] for entry in model.history_]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(800 / (3 * 1024.0), rel=0.1)


@pytest.mark.slow
def test_a_thousand_unequal_workers_are_no_matter():
    rng = np.random.default_rng(0)
    engine = Simulated(
        speeds=rng.uniform(0.1, 1.0, 1000), latency_s=0.005, jitter=0.2, failures=dict.fromkeys(range(100), 0.05)
    )
    X = unit_rows(3000, 5)
    model = SGDClassifier(engine=engine, algorithm=LocalSGD(sync_every=1.0), max_iter=10, tol=None, random_state=0)
    model.fit(X, labels(X))
    assert model.algorithm_.n_workers == 1000
    assert len(model.history_[0]["workers"]) == 1000
    assert len(model.history_[-1]["workers"]) == 1000
    assert len([gone for entry in model.history_ for gone in entry["lost"]]) >= 100
    assert model.score(X, labels(X)) > 0.8


def test_networks_run_on_it_and_count_its_workers():
    engine = Simulated(speeds=(1.0, 0.5), rate=1000.0)
    model = MLPClassifier((6,), engine=engine, algorithm=LocalSGD(sync_every=1.0), max_iter=2, tol=0.0, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(X, labels(X))
    assert model.history_[-1]["seconds"] == pytest.approx(2 * 200 / 500.0)


def test_an_estimator_with_a_simulated_engine_can_be_cloned_and_saved(tmp_path):
    engine = Simulated(speeds=np.array([1, 0.5]), failures={1: 30}, jitter=0.1)
    model = clone(fit(engine)).fit(X, Y)
    assert model.engine == engine
    save(model, tmp_path / "m")
    assert load(tmp_path / "m").engine == engine


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"speeds": 0}, r"'speeds' .* above 0 .* Got 0"),
        ({"speeds": [1.0, -1.0]}, r"'speeds' .* Got -1.0"),
        ({"speeds": "fast"}, r"'speeds' .* Got 'fast'"),
        ({"speeds": []}, r"'speeds' .* Got \(\)"),
        ({"speeds": [1.0, "x"]}, r"'speeds' .* Got 'x'"),
        ({"rate": 0.0}, r"'rate' .* Got 0.0"),
        ({"rate": math.inf}, r"'rate' .* Got inf"),
        ({"latency_s": -1e-3}, r"'latency_s' .* seconds at least 0 .* Got -0.001"),
        ({"latency_s": math.nan}, r"'latency_s' .* Got nan"),
        ({"jitter": -0.1}, r"'jitter' .* Got -0.1"),
        ({"merge_s": "1ms"}, r"'merge_s' .* Got '1ms'"),
        ({"bandwidth_bytes_per_s": 0}, r"'bandwidth_bytes_per_s' .* bytes per second, above 0 .* Got 0"),
        ({"failures": [1.0]}, r"'failures' .* such as \{3: 2.5\}. Got \[1.0\]"),
        ({"failures": {-1: 1.0}}, r"'failures' .* Got \{-1: 1.0\}"),
        ({"failures": {1: -1.0}}, r"'failures' .* Got \{1: -1.0\}"),
        ({"seed": -1}, r"'seed' .* nonnegative int. Got -1"),
        ({"seed": 0.5}, r"'seed' .* Got 0.5"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_by_name(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        Simulated(**settings)


def test_as_many_speeds_as_workers_are_asked_for_before_any_work():
    for engine in (Simulated(speeds=(1.0, 0.5)), Simulated(latency_s=(0.0, 0.1))):
        with pytest.raises(InvalidArgumentError, match="'n_jobs' parameter of SGDRegressor must be None or 2"):
            fit(engine, n_jobs=3)
    with pytest.raises(InvalidArgumentError, match=r"'speeds' .* one per worker, 3.* Got 2 numbers"):
        Simulated(speeds=(1.0, 0.5)).open(None, [None] * 3, no_progress)
    with pytest.raises(InvalidArgumentError, match=r"'latency_s' .* one per worker, 2.* Got 3 numbers"):
        fit(Simulated(speeds=(1.0, 0.5), latency_s=(0.0, 0.0, 0.1)))
    with pytest.raises(
        InvalidArgumentError, match=r"'failures' .* workers from 0 to n_jobs - 1. Got \[2, 5\], and 2 workers"
    ):
        fit(Simulated(failures={5: 1.0, 2: 1.0, 1: 1.0}), n_jobs=2)
