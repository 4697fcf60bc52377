"""Displays: what they draw is what the history says, for every way of working; axes have titles with units."""

import re
import sys
from importlib import resources

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

import parsgd
from parsgd import AsyncLocalSGD, LocalSGD, MLPClassifier, SGDClassifier, Simulated, SimuParallel
from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.plotting import GanttDisplay, LossDisplay, PlanDisplay, WeightsDisplay, WorkDisplay
from parsgd.training.reporting.history_stats import end_of, worker_totals
from parsgd.viz.plots import plot_style

X, Y = load_digits(return_X_y=True)
X, Y = X[:600] / 16.0, Y[:600] % 2
SETTINGS = {"max_iter": 4, "tol": None, "random_state": 0}
DISPLAYS = [LossDisplay, WorkDisplay, WeightsDisplay, GanttDisplay]
WAYS = {
    "serial": {"n_jobs": 1},
    "rounds": {"n_jobs": 2, "algorithm": LocalSGD(sync_every=0.25, rule="loss")},
    "nobody waits": {"n_jobs": 2, "algorithm": AsyncLocalSGD()},
    "one shot": {"n_jobs": 2, "algorithm": SimuParallel()},
    "in turn": {"n_jobs": 2, "algorithm": LocalSGD(sync_every=0.5), "engine": "serial"},
    "thirty": {
        "algorithm": LocalSGD(sync_every=0.5),
        "engine": Simulated(speeds=[1.0] * 30, rate=1e4, failures={2: 0.01}),
    },
}
MODELS = {name: SGDClassifier("log_loss", **SETTINGS, **params).fit(X, Y) for name, params in WAYS.items()}


@pytest.fixture(autouse=True)
def figures_are_closed():
    with mpl.rc_context({"figure.max_open_warning": 0}):
        yield
    plt.close("all")


@pytest.mark.cover(1)
@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("way", WAYS)
def test_every_display_draws_every_way_of_working(display, way):
    ours = display.from_estimator(MODELS[way])
    assert ours.ax_.figure is ours.figure_
    assert ours.ax_.get_title(loc="left")
    assert ours.ax_.get_xlabel()
    ours.figure_.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_that_are_given_are_drawn_on_and_drawn_again_elsewhere(display):
    _, (left, right) = plt.subplots(1, 2)
    ours = display.from_estimator(MODELS["rounds"], ax=left)
    assert ours.ax_ is left
    assert ours.plot(ax=right) is ours
    assert ours.ax_ is right
    assert len(left.get_children()) == len(right.get_children())


@pytest.mark.parametrize(("over", "key"), [("time", "seconds"), ("passes", "epoch"), ("rounds", "round")])
def test_the_loss_is_that_of_the_history(over, key):
    history = MODELS["rounds"].history_
    ours = LossDisplay.from_estimator(MODELS["rounds"], over=over)
    (line,) = ours.ax_.get_lines()
    size = 1e-3 if "ms" in ours.ax_.get_xlabel() else 1.0
    expected = [entry[key] / size + (over == "rounds") for entry in history]
    np.testing.assert_allclose(line.get_xdata(), expected if over == "time" else np.multiply(expected, size))
    np.testing.assert_array_equal(line.get_ydata(), [entry["loss"] for entry in history])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_are_shown_where_there_are_any(n_jobs):
    model = MLPClassifier(
        (8,),
        n_jobs=n_jobs,
        algorithm=LocalSGD(0.5) if n_jobs > 1 else "auto",
        early_stopping=True,
        max_iter=4,
        random_state=0,
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(X, Y)
    (line,) = LossDisplay.from_estimator(model, show="score").ax_.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), model.validation_scores_)
    with pytest.raises(InvalidArgumentError, match="no score to plot"):
        LossDisplay.from_estimator(MODELS["rounds"], show="score")


def bars_of(display, kind):
    """The bars of an activity, one collection a worker."""
    return [c for c in display.ax_.collections if mpl.colors.to_hex(c.get_facecolor()[0]) == plot_style.KINDS[kind]]


def widths(bars):
    return sum(np.ptp(path.vertices[:, 0]) for path in bars.get_paths())


def test_bars_are_as_long_as_the_times_they_stand_for():
    history = MODELS["rounds"].history_
    ours = WorkDisplay.from_estimator(MODELS["rounds"])
    size = 1e-3 if "ms" in ours.ax_.get_xlabel() else 1.0
    drawn = {kind: [widths(c) * size for c in bars_of(ours, kind)] for kind in plot_style.KINDS}
    assert sum(map(sum, drawn.values())) == pytest.approx(2 * end_of(history))
    np.testing.assert_allclose(drawn["computing"], [a.computing for a in worker_totals(history)])


def test_the_gantt_chart_has_a_bar_for_each_worker_in_each_round_and_ends_with_the_fit():
    model = MODELS["rounds"]
    ours = GanttDisplay.from_estimator(model)
    size = 1e-3 if "ms" in ours.ax_.get_xlabel() else 1.0
    assert ours.ax_.get_xlim()[1] * size == pytest.approx(end_of(model.history_))
    computing = bars_of(ours, "computing")
    assert [len(c.get_paths()) for c in computing] == [len(model.history_)] * 2
    long = sum(map(widths, computing))
    assert long * size == pytest.approx(sum(a.computing for a in worker_totals(model.history_)), rel=1e-6)


def test_of_many_workers_some_are_shown_in_rows_and_three_as_lines():
    assert len(WorkDisplay.from_estimator(MODELS["thirty"]).ax_.get_yticks()) == 24
    names = [line.get_label() for line in WeightsDisplay.from_estimator(MODELS["thirty"]).ax_.get_lines()]
    assert names == ["largest", "median", "smallest"]


def test_a_plan_is_drawn_as_it_predicts():
    model = SGDClassifier("log_loss", **(SETTINGS | {"max_iter": 5}))
    plan = parsgd.plan(model, X, Y, (1, 2), seconds=0.5)
    ours = PlanDisplay.from_plan(plan)
    size = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[ours.ax_.get_ylabel().split(", ")[1]]
    drawn = sorted(y * size for line in ours.ax_.get_lines() for y in line.get_ydata())
    np.testing.assert_allclose(drawn, sorted(cell.seconds for cell in plan.cells if cell.reaches))
    assert [label.get_text() for label in ours.ax_.get_xticklabels()] == ["1", "2"]
    assert isinstance(PlanDisplay.from_estimator(model, X, Y, n_workers=1, seconds=0.3), PlanDisplay)
    with pytest.raises(InvalidArgumentError, match="'plan'"):
        PlanDisplay("fast")


def test_colours_are_those_of_the_report():
    css = (resources.files("parsgd.viz.report") / "style.css").read_text(encoding="utf-8").split("@media")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+)", css))
    assert {kind: colours[kind] for kind in plot_style.KINDS} == plot_style.KINDS
    assert tuple(colours[f"s{i}"] for i in range(len(plot_style.LINES))) == plot_style.LINES


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_cannot_be_drawn_is_refused(display, monkeypatch):
    with pytest.raises(InvalidArgumentError, match=f"{display.__name__}.from_estimator must be fitted"):
        display.from_estimator(SGDClassifier())
    with pytest.raises(InvalidArgumentError, match=r"a parsgd estimator\. Got 'model'"):
        display.from_estimator("model")
    lbfgs = MLPClassifier((4,), solver="lbfgs", tol=0.1, random_state=0).fit(X, Y)
    with pytest.raises(InvalidArgumentError, match="L-BFGS has no rounds"):
        display.from_estimator(lbfgs)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parsgd\[plot\]'"):
        display.from_estimator(MODELS["rounds"])


def test_names_that_are_none_are_refused_with_those_that_are():
    with pytest.raises(InvalidArgumentError, match=r"'over'.*Did you mean 'rounds'"):
        LossDisplay.from_estimator(MODELS["rounds"], over="round")
    with pytest.raises(InvalidArgumentError, match="'show'"):
        LossDisplay.from_estimator(MODELS["rounds"], show="accuracy")
