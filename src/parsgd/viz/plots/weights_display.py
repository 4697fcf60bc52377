"""Plot of the merge weights of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsgd.viz.plots import plot_style
from parsgd.viz.report.line_charts import ChartLine, weight_lines


class WeightsDisplay:
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
        return cls(weight_lines(plot_style.record(estimator, "WeightsDisplay"))).plot(ax, **settings)

    def plot(self, ax: Any = None, **settings: Any) -> WeightsDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.ax_: Any = plot_style.axes(ax)
        self.figure_: Any = self.ax_.figure
        plot_style.draw_lines(self.ax_, self.lines, **settings)
        self.ax_.set_ylim(bottom=min(0.0, *(point[1] for line in self.lines for point in line.points)))
        self.ax_.set_xlim(0, max(point[0] for line in self.lines for point in line.points) + 1)
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        plot_style.finish(self.ax_, "Weights of the workers", "rounds", "merge weight")
        return self
