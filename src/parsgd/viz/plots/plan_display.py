"""Plot of the predicted times of a plan."""

from __future__ import annotations

from typing import Any

from parsgd.errors import InvalidArgumentError
from parsgd.planning.plan_table import TrainingPlan
from parsgd.planning.planner import plan as make_plan
from parsgd.viz.plots import plot_style
from parsgd.viz.report.line_charts import plan_lines


class PlanDisplay:
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
        self.ax_: Any = plot_style.axes(ax)
        self.figure_: Any = self.ax_.figure
        lines, counts, unit = plan_lines(self.plan)
        plot_style.draw_lines(self.ax_, lines, marker="o")
        plot_style.set_log_scale(self.ax_, [point[1] for line in lines for point in line.points])
        self.ax_.set_xticks(range(len(counts)), [f"{count:,}" for count in counts])
        plot_style.finish(self.ax_, "Predicted time to the loss of serial SGD", "workers", f"time, {unit}")
        return self
