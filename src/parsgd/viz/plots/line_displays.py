"""Plots of the loss, of the merge weights, and of the predicted times of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parsgd.errors import InvalidArgumentError, choose
from parsgd.planning.plan_table import TrainingPlan
from parsgd.planning.planner import plan as make_plan
from parsgd.viz.number_format import setting_name
from parsgd.viz.plots.plot_style import Display, draw_lines, finish, record_of, set_log_scale
from parsgd.viz.report.line_charts import (
    ChartLine,
    loss_chart,
    plan_chart,
    score_chart,
    tuning_chart,
    weight_chart,
)

OVER = ("time", "passes", "rounds")


class LossDisplay(Display):
    """Plot of the training loss or the validation score.

    Parameters
    ----------
    lines : sequence of ChartLine
        The lines; each has a ``name`` and ``points``, which are ``(x, y, text)``.
    x_title, y_title : str
        Titles of the axes, with units.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import LossDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm="local", random_state=0).fit(*load_digits(return_X_y=True))
    >>> display = LossDisplay.from_estimator(model, over="passes")
    >>> display.ax_.get_xlabel()
    'passes over the rows'
    """

    def __init__(self, lines: Sequence[ChartLine], x_title: str, y_title: str = "training loss"):
        self.lines: Sequence[ChartLine] = lines
        self.x_title: str = x_title
        self.y_title: str = y_title

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, over: str | None = None, show: str = "loss", ax: Any = None, **settings: Any
    ) -> LossDisplay:
        """Plot the loss of a fitted estimator.

        Parameters
        ----------
        estimator : fitted parsgd estimator
        over : {"time", "passes", "rounds"} or None
            The x axis.  None: time; for a fit of one round, the passes of each worker.
        show : {"loss", "score"}
            The mean training loss of each round, or the validation score over passes.
        ax : matplotlib axes or None
            The axes to plot on.  None: a new figure.
        **settings
            Arguments of matplotlib's ``plot``.

        Raises
        ------
        InvalidArgumentError
            If the estimator is not fitted, or recorded no loss or score.
        """
        choose("time" if over is None else over, OVER, "over", "LossDisplay.from_estimator")
        choose(show, ("loss", "score"), "show", "LossDisplay.from_estimator")
        record = record_of(estimator, "LossDisplay")
        default = "time" if len(record.history) > 1 else "passes"
        chart = score_chart(record) if show == "score" else loss_chart(record, over or default)
        if not chart.lines:
            raise InvalidArgumentError(f"There is no {show} to plot: this fit recorded no finite {show}.")
        return cls(chart.lines, chart.x_title, chart.y_title).plot(ax, **settings)

    def plot(self, ax: Any = None, **settings: Any) -> LossDisplay:
        """Plot on ``ax``, or on a new figure."""
        axes = self.use(ax)
        draw_lines(axes, self.lines, **settings)
        log = set_log_scale(axes, self.lines)
        axes.set_xlim(left=0)
        finish(axes, self.y_title.capitalize(), self.x_title, self.y_title + ", log scale" * log)
        return self


class WeightsDisplay(Display):
    """Plot of the weight of each worker's report in each merge.

    With many workers it shows the largest, the median and the smallest weight.

    Attributes
    ----------
    lines : sequence of ChartLine
        The lines; each has a ``name`` and ``points``, which are ``(round, weight, text)``.  Rounds count from 1.
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import LocalSGD, SGDClassifier
    >>> from parsgd.plotting import WeightsDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm=LocalSGD(rule="loss")).fit(*load_digits(return_X_y=True))
    >>> WeightsDisplay.from_estimator(model).ax_.get_ylabel()
    'merge weight'
    """

    def __init__(self, lines: Sequence[ChartLine]):
        self.lines = lines

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **settings: Any) -> WeightsDisplay:
        """Plot the weights of a fitted estimator's workers; ``settings`` are arguments of matplotlib's ``plot``."""
        return cls(weight_chart(record_of(estimator, "WeightsDisplay")).lines).plot(ax, **settings)

    def plot(self, ax: Any = None, **settings: Any) -> WeightsDisplay:
        """Plot on ``ax``, or on a new figure."""
        axes, points = self.use(ax), [point for line in self.lines for point in line.points]
        draw_lines(axes, self.lines, **settings)
        axes.set_ylim(bottom=min(0.0, *(point[1] for point in points)))
        axes.set_xlim(0, max(point[0] for point in points) + 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        finish(axes, "Weights of the workers", "rounds", "merge weight")
        return self


class PlanDisplay(Display):
    """Plot of the predicted time to the loss of serial SGD, by number of workers and strategy.

    Attributes
    ----------
    plan : TrainingPlan
        The plan; the plot omits strategies that do not reach the loss.
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import PlanDisplay
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier("log_loss", max_iter=5, tol=None, random_state=0)
    >>> PlanDisplay.from_estimator(model, scale(X), y, n_workers=(1, 2)).ax_.get_xlabel()
    'workers'
    """

    def __init__(self, plan: TrainingPlan):
        if not isinstance(plan, TrainingPlan):
            expected = "the result of parsgd.plan"
            raise InvalidArgumentError(f"The 'plan' parameter of PlanDisplay must be {expected}. Got {plan!r} instead.")
        self.plan = plan

    @classmethod
    def from_plan(cls, plan: TrainingPlan, *, ax: Any = None) -> PlanDisplay:
        """Plot a plan of :func:`parsgd.plan`."""
        return cls(plan).plot(ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None, **settings: Any) -> PlanDisplay:
        """Make a plan with :func:`parsgd.plan`, to which ``settings`` are passed, and plot it."""
        return cls(make_plan(estimator, X, y, **settings)).plot(ax)

    def plot(self, ax: Any = None) -> PlanDisplay:
        """Plot on ``ax``, or on a new figure."""
        axes, chart = self.use(ax), plan_chart(self.plan)
        draw_lines(axes, chart.lines, marker="o")
        set_log_scale(axes, chart.lines)
        axes.set_xticks(range(len(chart.names)), chart.names)
        title = "Predicted time to the loss of serial SGD"
        finish(axes, title, "workers", chart.y_title.removeprefix("predicted "))
        return self


class SearchDisplay(Display):
    """Plot of the validation curves of a search: mean scores by one parameter, a line for each value of the others.

    Attributes
    ----------
    scores : dict
        Mean score of each setting, by a name such as ``"alpha=0.0001, eta0=0.1"``.
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import SGDClassifierCV
    >>> from parsgd.plotting import SearchDisplay
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = SGDClassifierCV(alphas=[1e-4, 1e-2], etas=[0.1, 1.0], random_state=0).fit(scale(X), y)
    >>> SearchDisplay.from_estimator(search).ax_.get_xlabel()
    'alpha'
    """

    def __init__(self, scores: Mapping[str, float]):
        self.scores = dict(scores)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> SearchDisplay:
        """Plot a fitted search, such as :class:`parsgd.SGDClassifierCV` or a grid search of scikit-learn."""
        results = getattr(estimator, "cv_results_", None)
        if results is None:
            raise InvalidArgumentError(
                "The 'estimator' parameter of SearchDisplay.from_estimator must be a fitted search. Got"
                f" {type(estimator).__name__} without cv_results_ instead."
            )
        pairs = zip(results["params"], results["mean_test_score"], strict=True)
        return cls({setting_name(setting): float(score) for setting, score in pairs}).plot(ax)

    def plot(self, ax: Any = None) -> SearchDisplay:
        """Plot on ``ax``, or on a new figure."""
        axes, chart = self.use(ax), tuning_chart(self.scores)
        draw_lines(axes, chart.lines, marker="o")
        axes.set_xticks(range(len(chart.names)), chart.names)
        finish(axes, "Validation curves", chart.x_title, chart.y_title)
        return self
