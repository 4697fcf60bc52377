"""Plot of the timeline of a fit."""

from __future__ import annotations

from typing import Any

from parsgd.viz import number_format
from parsgd.viz.plots import plot_style
from parsgd.viz.report.bar_charts import rows_shown, timeline
from parsgd.viz.report.fit_facts import FitFacts

_MAX_SPANS = 2000


class GanttDisplay:
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
        return cls(plot_style.record(estimator, "GanttDisplay")).plot(ax)

    def plot(self, ax: Any = None) -> GanttDisplay:
        """Plot on ``ax``, or on a new figure."""
        record = self.record
        visible = rows_shown(record.accounts)
        self.ax_: Any = plot_style.axes(ax, len(visible))
        self.figure_: Any = self.ax_.figure
        unit, size = number_format.unit_of(record.end)
        bars: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for bar in timeline(record, visible, _MAX_SPANS):
            if bar.ended > bar.began:
                bars.setdefault((bar.kind, bar.row), []).append((bar.began / size, (bar.ended - bar.began) / size))
        named = set()
        # later bars cover earlier ones
        order = {"waiting": 0, "computing": 1, "merging": 2}
        labels = {"computing": "computing", "waiting": "waiting", "merging": "merging, scores and stopping"}
        for (kind, row), places in sorted(bars.items(), key=lambda item: order[item[0][0]]):
            label = None if kind in named else labels[kind]
            named.add(kind)
            self.ax_.broken_barh(places, (row - 0.4, 0.8), facecolors=plot_style.KINDS[kind], linewidth=0, label=label)
        self.ax_.set_xlim(0, record.end / size or 1.0)
        names = [f"worker {one.worker}" for one in visible]
        plot_style.rows(self.ax_, names, "Timeline of the rounds", f"time, {unit}")
        return self
