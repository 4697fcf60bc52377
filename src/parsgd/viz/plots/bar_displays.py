"""Plots of the workers' time: by activity, and as a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsgd.training.reporting.history_stats import WorkerTotals
from parsgd.viz.plots.plot_style import Display, draw_bars, record_of
from parsgd.viz.report.bar_charts import rounds_chart, work_chart
from parsgd.viz.report.fit_facts import FitFacts

_MAX_SPANS = 2000


class WorkDisplay(Display):
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
        return cls(record_of(estimator, "WorkDisplay").accounts).plot(ax)

    def plot(self, ax: Any = None) -> WorkDisplay:
        """Plot on ``ax``, or on a new figure."""
        chart = work_chart(self.accounts)
        draw_bars(self.use(ax, len(chart.rows)), chart, "Time of each worker by activity")
        return self


class GanttDisplay(Display):
    """Gantt chart of a fit: computing and waiting of each worker, and the driver's work after each round.

    Attributes
    ----------
    record : FitFacts
        The facts about the fit, with the times of its rounds.
    ax_, figure_ : matplotlib axes and figure

    Notes
    -----
    The history has the start of each round and the arrival of its last report.  A worker's computing is drawn from the
    start of the round, with ``engine="serial"`` after that of the previous worker.  If workers do not wait for merges,
    each bar sums a time interval.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import GanttDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm="local", random_state=0).fit(*load_digits(return_X_y=True))
    >>> GanttDisplay.from_estimator(model).ax_.get_title(loc="left")
    'Timeline of the rounds'
    """

    def __init__(self, record: FitFacts):
        self.record = record

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> GanttDisplay:
        """Plot the rounds of a fitted estimator, with at most 24 of its workers."""
        return cls(record_of(estimator, "GanttDisplay")).plot(ax)

    def plot(self, ax: Any = None) -> GanttDisplay:
        """Plot on ``ax``, or on a new figure."""
        chart = rounds_chart(self.record, _MAX_SPANS)
        draw_bars(self.use(ax, len(chart.rows)), chart, "Timeline of the rounds")
        return self
