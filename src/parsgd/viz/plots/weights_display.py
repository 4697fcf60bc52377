"""The weights of the workers in each merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsgd.viz.plots import plot_style
from parsgd.viz.report.line_charts import ChartLine, weight_lines


class WeightsDisplay:
    """How much each worker's report counted in each merge; of many workers the largest, the median, the smallest.

    Attributes
    ----------
    lines : sequence of Line
        ``name`` and ``points``, of each ``(round, weight, text)``; rounds count from 1.
    ax_, figure_ : matplotlib's axes and figure

    Examples
    --------
    >>> from parsgd import LocalSGD, SGDClassifier
    >>> from parsgd.plotting import WeightsDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm=LocalSGD(rule="loss")).fit(*load_digits(return_X_y=True))
    >>> WeightsDisplay.from_estimator(model).ax_.get_ylabel()
    'weight in the merge'
    """

    def __init__(self, lines: Sequence[ChartLine]):
        self.lines = lines

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **settings: Any) -> WeightsDisplay:
        """Draw the weights of a fitted estimator's workers; ``settings`` are passed to matplotlib's ``plot``."""
        return cls(weight_lines(plot_style.record(estimator, "WeightsDisplay"))).plot(ax, **settings)

    def plot(self, ax: Any = None, **settings: Any) -> WeightsDisplay:
        """Draw on ``ax``, or on a new figure."""
        self.ax_ = plot_style.axes(ax)
        self.figure_ = self.ax_.figure
        plot_style.draw_lines(self.ax_, self.lines, **settings)
        self.ax_.set_ylim(bottom=min(0.0, *(point[1] for line in self.lines for point in line.points)))
        self.ax_.set_xlim(0, max(point[0] for line in self.lines for point in line.points) + 1)
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        plot_style.finish(self.ax_, "Weights of the workers", "rounds", "weight in the merge")
        return self
