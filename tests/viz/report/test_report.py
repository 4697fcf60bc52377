"""``report``: the sentence is true, what is not known is said to be so, and what cannot be done is refused at once."""

import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import scale

import parsgd
from parsgd import (
    LocalSGD,
    MiniBatch,
    MLPClassifier,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    Simulated,
    SimuParallel,
)
from parsgd.errors import InvalidArgumentError, ModelFileError
from parsgd.model_io import model_files
from parsgd.training.reporting.history_stats import end_of
from parsgd.viz import number_format
from parsgd.viz.report.fit_facts import fit_facts_of
from parsgd.viz.report.line_charts import thinned
from parsgd.viz.report.run_metadata import RunMetadata, from_notes, here
from parsgd.viz.report.speedup import speedup_of
from parsgd.viz.report.svg import Scale, ticks

X, Y = load_digits(return_X_y=True)
X = X / 16.0
SETTINGS = {"max_iter": 3, "tol": None, "random_state": 0}


def found(run=None, **params):
    model = SGDClassifier(**SETTINGS, **params).fit(X, Y)
    return speedup_of(fit_facts_of(model, run or RunMetadata()))


# -- the sentence ------------------------------------------------------------------------------------------------------


def test_equal_workers_that_need_no_messages_are_as_many_times_as_fast():
    ours = found(engine=Simulated(speeds=[1.0] * 4, rate=1e4), algorithm=LocalSGD(sync_every=1.0))
    assert ours.serial_seconds / ours.seconds == pytest.approx(4.0, rel=0.01)
    took = number_format.seconds(ours.seconds)
    assert ours.sentence.startswith(f"4 workers took {took} on the simulated clock; one worker would have taken about ")
    assert ours.sentence.endswith("parallel work helped (4.0 times as fast).")
    assert "simulated clock" in ours.cautions[0]


def test_slow_messages_are_not_worth_it():
    ours = found(engine=Simulated(speeds=[1.0] * 2, rate=1e5, latency_s=0.1), algorithm=LocalSGD(sync_every=0.5))
    assert ours.serial_seconds / ours.seconds < 0.5
    assert "parallel work was slower (" in ours.sentence


def test_little_is_called_little():
    ours = found(engine=Simulated(speeds=[1.0, 0.1], rate=1e4), algorithm=LocalSGD(sync_every=1.0))
    assert ours.serial_seconds / ours.seconds == pytest.approx(1.1, rel=0.01)
    assert "parallel work helped little (1.10 times as fast)" in ours.sentence


def test_the_estimate_is_what_the_workers_computed_and_what_was_checked():
    model = SGDClassifier(n_jobs=2, algorithm=LocalSGD(sync_every=0.5), early_stopping=True, **SETTINGS).fit(X, Y)
    ours = speedup_of(fit_facts_of(model, RunMetadata()))
    computed = sum(worker["seconds"] for entry in model.history_ for worker in entry["workers"])
    assert ours.serial_seconds == pytest.approx(computed + sum(entry["check_seconds"] for entry in model.history_))
    assert ours.seconds == end_of(model.history_)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"n_jobs": 1}, r"One worker took .*; nothing ran in parallel \(serial SGD .*\)\."),
        ({"n_jobs": 2, "engine": "serial", "algorithm": "local"}, "2 workers shared one core for .*nothing ran in"),
    ],
)
def test_where_nothing_ran_in_parallel_nothing_is_compared(params, said):
    ours = found(**params)
    assert re.match(said, ours.sentence)
    assert ours.serial_seconds is None


def test_what_the_estimate_leaves_out_is_said():
    local = found(n_jobs=2, algorithm="local")
    assert any("The same number of passes by one worker gives a different model" in said for said in local.cautions)
    batches = found(n_jobs=2, algorithm=MiniBatch())
    assert any("same steps with any number of workers" in said for said in batches.cautions)
    crowded = found(RunMetadata(processors=2), n_jobs=3, algorithm="local")
    assert any("3 workers shared 2 processors" in said for said in crowded.cautions)


def test_what_a_plan_said_stands_beside_what_happened():
    x, y = scale(X[:400]), Y[:400] % 2
    model = SGDClassifier("log_loss", **(SETTINGS | {"max_iter": 5}))
    plan = parsgd.plan(model, x, y, (1, 2))
    page = parsgd.write_report(model.set_params(n_jobs=2, algorithm="local").fit(x, y), plan=plan)
    assert "The plan" in page
    assert "predicted time" in page
    with pytest.raises(InvalidArgumentError, match="'plan'"):
        parsgd.write_report(model, plan="fast")


# -- what is known -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "y", "score"),
    [
        (SGDClassifier(n_jobs=2, algorithm=SimuParallel(), **SETTINGS), Y, "accuracy"),
        (SGDRegressor(n_jobs=1, **SETTINGS), Y, "R²"),
        (SGDOneClassSVM(n_jobs=1, **SETTINGS), None, "fraction of inliers"),
        (MLPClassifier((4,), solver="lbfgs", tol=0.1, random_state=0), Y % 2, "accuracy"),
    ],
)
def test_every_kind_of_model_has_a_page(model, y, score, tmp_path):
    model.fit(X, y)
    page = parsgd.write_report(model, X=X, y=y)
    assert score in page
    assert "The command is unknown" in page
    model_files.save(model, tmp_path / "m")
    again = parsgd.write_report(tmp_path / "m")
    assert "No score." in again
    assert "The warnings of the fit are unknown" in again


def test_a_page_says_the_scores_warnings_and_command_that_were_noted(tmp_path):
    run = RunMetadata(
        command=["fit", "my data.csv"],
        data="my data.csv",
        rows=1797,
        scores={"r2": float("nan"), "rmse": 2.5},
        scored_on="test",
        warnings=["beware"],
        seconds=1.5,
        **here(),
    )
    model_files.save(SGDRegressor(**SETTINGS).fit(X, Y), tmp_path / "m", run=run.notes())
    page = parsgd.write_report(str(tmp_path / "m"))
    for said in ("parsgd fit &#x27;my data.csv&#x27;", "beware", "2.5000", "whole fit 1.5 s", parsgd.__version__):
        assert said in page
    data = json.loads(re.search(r'id="run">(.*?)</script>', page).group(1))
    assert data["run"]["scores"] == {"r2": None, "rmse": 2.5}


def test_only_parameters_that_were_changed_are_in_the_first_table():
    record = fit_facts_of(SGDClassifier(alpha=0.01, n_jobs=1, **SETTINGS).fit(X, Y), RunMetadata())
    assert record.changed == {"alpha": "0.01", "max_iter": "3", "n_jobs": "1", "random_state": "0", "tol": "None"}
    assert set(record.parameters) == set(SGDClassifier().get_params())


def test_notes_come_back_as_they_were_and_later_ones_are_left_out():
    run = RunMetadata(data="iris", classes={"a": 3}, warnings=(), **here())
    assert from_notes(run.notes() | {"of a later version": 1}) == run
    # the name in files of version 0.1
    assert from_notes({"said": ["numbers: age"]}).encoding == ("numbers: age",)
    for broken in ("iris", {"rows": "many"}, {"scores": {"r2": "good"}}, {"warnings": [3]}, {"seconds": float("inf")}):
        with pytest.raises(ModelFileError, match="run metadata are damaged"):
            from_notes(broken)


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_what_is_no_fitted_model_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="must be fitted"):
        parsgd.write_report(SGDClassifier())
    with pytest.raises(InvalidArgumentError, match="parsgd estimator or the path"):
        parsgd.write_report(3)
    with pytest.raises(ModelFileError, match="cannot be read"):
        parsgd.write_report(tmp_path / "missing")
    model_files.save(SGDClassifier(**SETTINGS).fit(X, Y), tmp_path / "m", run={"rows": -1})
    with pytest.raises(ModelFileError, match=r"m: the run metadata are damaged: invalid rows -1"):
        parsgd.write_report(tmp_path / "m")


def test_half_of_x_and_y_is_refused():
    model = SGDClassifier(**SETTINGS).fit(X, Y)
    for given in ({"X": X}, {"y": Y}):
        with pytest.raises(InvalidArgumentError, match="'X' and 'y'"):
            parsgd.write_report(model, **given)


def test_where_a_page_cannot_be_written_is_told_and_the_model_is_kept(tmp_path):
    path = tmp_path / "m"
    model_files.save(SGDClassifier(**SETTINGS).fit(X, Y), path)
    before = path.read_bytes()
    for out, said in ((path, "must not be the model file"), (tmp_path, "folder"), (tmp_path / "no" / "p", "existing")):
        with pytest.raises(InvalidArgumentError, match=said):
            parsgd.write_report(path, out)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


# -- drawing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 59, 60, 61, 1000])
def test_thinned_keeps_the_ends_and_is_short(n):
    ours = thinned(list(range(n)), 60)
    assert ours[0] == 0
    assert ours[-1] == n - 1
    assert len(ours) <= 61
    assert ours == sorted(set(ours))


def test_scales_and_ticks_stay_within_their_ends():
    for low, high in ((0.0, 1.0), (-3.0, 7e5), (1e-9, 2e-9), (5.0, 5.0)):
        assert all(low - 1e-12 <= value <= high + 1e-12 * abs(high) for value in ticks(low, high))
    log = Scale(0.001, 100.0, 0, 10, log=True)
    assert log(0.001) == pytest.approx(0.0)
    assert log(100.0) == pytest.approx(10.0)
    assert all(0.001 <= value <= 100.0 for value in log.ticks())


def test_a_diverging_loss_and_constant_ones_can_be_drawn():
    x, y = load_diabetes(return_X_y=True)
    model = SGDRegressor(n_jobs=2, algorithm=LocalSGD(sync_every=0.5), **SETTINGS).fit(x, y)
    for losses in ([float("nan")] * 6, [float("inf"), 1.0] * 3, [0.0] * 6, [-1.0, 2.0] * 3, list(np.logspace(0, 9, 6))):
        for entry, loss in zip(model.history_, losses, strict=True):
            entry["loss"] = loss
        page = parsgd.write_report(model)
        assert page.count("<circle") == 6 * len([loss for loss in losses if np.isfinite(loss)])
        assert not re.search(r'="(nan|inf)"', page)
