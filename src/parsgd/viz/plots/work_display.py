"""Plot of the time of each worker by activity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsgd.training.reporting.history_stats import WorkerTotals
from parsgd.viz import number_format
from parsgd.viz.plots import plot_style
from parsgd.viz.report.bar_charts import KINDS, activities, rows_shown


class WorkDisplay:
    """Bar chart of each worker's time: computing, the driver's work, and waiting.

    Attributes
    ----------
    accounts : sequence of WorkerTotals
        ``steps``, ``examples``, ``weight``, and the seconds ``computing``, ``merging``, ``checking`` and ``waiting`` of
        each worker.
    ax_, figure_ : matplotlib axes and figure

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import WorkDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm="local", random_state=0).fit(*load_digits(return_X_y=True))
    >>> [label.get_text() for label in WorkDisplay.from_estimator(model).ax_.get_yticklabels()]
    ['worker 0', 'worker 1']
    """

    def __init__(self, accounts: Sequence[WorkerTotals]):
        self.accounts = accounts

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> WorkDisplay:
        """Plot the work of a fitted estimator's workers, at most 24 of them."""
        return cls(plot_style.record(estimator, "WorkDisplay").accounts).plot(ax)

    def plot(self, ax: Any = None) -> WorkDisplay:
        """Plot on ``ax``, or on a new figure."""
        visible = rows_shown(self.accounts)
        self.ax_: Any = plot_style.axes(ax, len(visible))
        self.figure_: Any = self.ax_.figure
        times = [activities(one) for one in visible]
        unit, size = number_format.unit_of(max(sum(one.values()) for one in times))
        ends = [0.0] * len(visible)
        for kind, name in KINDS.items():
            parts = [one[kind] / size for one in times]
            if any(parts):
                self.ax_.barh(
                    range(len(visible)), parts, left=ends, height=0.75, color=plot_style.KINDS[kind], label=name
                )
                ends = [end + part for end, part in zip(ends, parts, strict=True)]
        names = [f"worker {one.worker}" for one in visible]
        plot_style.rows(self.ax_, names, "Time of each worker by activity", f"time, {unit}")
        return self
