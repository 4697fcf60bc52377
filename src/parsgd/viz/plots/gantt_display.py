"""The rounds of a fit in time."""

from __future__ import annotations

from typing import Any

from parsgd.viz.plots import plot_style
from parsgd.viz.report import number_format
from parsgd.viz.report.bar_charts import rounds_in_time, rows_shown
from parsgd.viz.report.fit_facts import FitFacts

_MOST_SPANS = 2000


class GanttDisplay:
    """In every round each worker's computing, its waiting, and then the driver's work.

    Attributes
    ----------
    record : Record
        Who did what, and when.
    ax_, figure_ : matplotlib's axes and figure

    Notes
    -----
    It is known when a round's tasks were sent and when its reports were there.  A worker's computing is drawn from the
    beginning of the round, with ``engine="serial"`` one worker after the other.  Where nobody waits for merges, each
    bar sums up a stretch of time.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.plotting import GanttDisplay
    >>> from sklearn.datasets import load_digits
    >>> model = SGDClassifier(n_jobs=2, algorithm="local", random_state=0).fit(*load_digits(return_X_y=True))
    >>> GanttDisplay.from_estimator(model).ax_.get_title(loc="left")
    'The rounds in time'
    """

    def __init__(self, record: FitFacts):
        self.record = record

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> GanttDisplay:
        """Draw the rounds of a fitted estimator; of more than 24 workers some are shown."""
        return cls(plot_style.record(estimator, "GanttDisplay")).plot(ax)

    def plot(self, ax: Any = None) -> GanttDisplay:
        """Draw on ``ax``, or on a new figure."""
        record = self.record
        shown = rows_shown(record.accounts)
        self.ax_ = plot_style.axes(ax, len(shown))
        self.figure_ = self.ax_.figure
        row_of = {one.worker: i for i, one in enumerate(shown)}
        unit, size = number_format.unit_of(record.end)
        bars: dict[tuple[str, int], list[tuple[float, float]]] = {}
        if not record.all_wait:
            bars = {("waiting", row): [(0.0, record.end / size)] for row in row_of.values()}
        for part in rounds_in_time(record, _MOST_SPANS):
            if part.worker in row_of and part.ended > part.began and (record.all_wait or part.kind == "computing"):
                bar = (part.began / size, (part.ended - part.began) / size)
                bars.setdefault((part.kind, row_of[part.worker]), []).append(bar)
        named = set()
        # what comes first lies below
        order = {"waiting": 0, "computing": 1, "merging": 2}
        names = {"computing": "computing", "waiting": "waiting", "merging": "merging, scores and stopping"}
        for (kind, row), places in sorted(bars.items(), key=lambda item: order[item[0][0]]):
            label = None if kind in named else names[kind]
            named.add(kind)
            self.ax_.broken_barh(places, (row - 0.4, 0.8), facecolors=plot_style.KINDS[kind], linewidth=0, label=label)
        self.ax_.set_xlim(0, record.end / size or 1.0)
        plot_style.rows(self.ax_, [f"worker {one.worker}" for one in shown], "The rounds in time", f"time, {unit}")
        return self
