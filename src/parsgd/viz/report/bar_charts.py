"""Bar charts: the speedup estimate, the time of each worker, and the timeline of the rounds.

The page draws them as SVG, :mod:`parsgd.plotting` by matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from parsgd.training.reporting.history_stats import WorkerTotals, spans
from parsgd.viz import number_format
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import WIDTHS, Frame, mark, tag, text

# Activities of a worker in the order of the bars.
KINDS = {"computing": "computing", "merging": "merging", "checking": "scores and stopping", "waiting": "waiting"}
# Maximum rows of a readable chart.
MAX_ROWS = 24
# Time intervals shown if workers do not wait for merges, because their reports have no common rounds.
_INTERVALS = 60
# Minimum width of a bar in pixels.
_MIN_WIDTH = 0.05


class Bar(NamedTuple):
    """A bar in a row from ``began`` to ``ended``, in seconds; ``kind`` gives its color."""

    row: int
    kind: str
    began: float
    ended: float
    tip: str


@dataclass(frozen=True)
class BarChart:
    """Bars in labeled rows up to the time ``end``, in drawing order; ``legend`` has the names of their kinds."""

    label: str
    rows: Sequence[str]
    end: float
    bars: Sequence[Bar]
    legend: Mapping[str, str] = field(default_factory=dict)

    def svg(self, size: str) -> str:
        """Draw the chart as SVG in this size."""
        unit, per = number_format.unit_of(self.end)
        height = 28 if len(self.rows) <= 10 else 16
        x, title = (0.0, self.end / per or 1.0), f"time, {unit}"
        frame = Frame(WIDTHS[size], 52 + height * len(self.rows), x, (0.0, 1.0), title, rows=self.rows)
        for i, name in enumerate(self.rows):
            y = frame.top + i * height + height / 2 + 2
            frame.add(tag("text", text(name), class_="tick end", x=frame.left - 6, y=y))
        for bar in self.bars:
            left, right = frame.sx(bar.began / per), frame.sx(bar.ended / per)
            if right - left > _MIN_WIDTH:
                y = frame.top + bar.row * height
                frame.add(mark("rect", bar.tip, class_=bar.kind, x=left, y=y, width=right - left, height=height - 5))
        return frame.svg(self.label)


def speedup_chart(found: Speedup, n_workers: int) -> BarChart:
    """Return the time of the fit and the estimate for one worker."""
    count = number_format.workers(n_workers)
    times = {count: ("computing", found.seconds), "1, estimated": ("estimate", found.serial_seconds)}
    bars = [
        Bar(row, kind, 0.0, value, f"{name}: {number_format.seconds(value)}")
        for row, (name, (kind, value)) in enumerate(times.items())
    ]
    label = f"Time of {count} against the estimate for one worker"
    return BarChart(label, list(times), max(bar.ended for bar in bars), bars)


def work_chart(accounts: Sequence[WorkerTotals]) -> BarChart:
    """Return a bar per worker: computing, the driver's work, and waiting."""
    visible, bars = rows_shown(accounts), []
    end = max(sum(vars(one)[kind] for kind in KINDS) for one in accounts)
    for row, one in enumerate(visible):
        began = 0.0
        for kind, name in KINDS.items():
            seconds = vars(one)[kind]
            share = number_format.share(seconds, end)
            tip = f"worker {one.worker}, {name}: {number_format.seconds(seconds)} ({share})"
            bars.append(Bar(row, kind, began, began + seconds, tip))
            began += seconds
    legend = {kind: name for kind, name in KINDS.items() if any(vars(one)[kind] > 0.0 for one in accounts)}
    return BarChart("Time of each worker by activity", _names(visible), end, bars, legend)


def rounds_chart(record: FitFacts, limit: int) -> BarChart:
    """Return a Gantt chart of computing, waiting and the driver's work, with about ``limit`` bars of each kind.

    If workers do not wait for merges, all time without computing is waiting.
    """
    visible = rows_shown(record.accounts)
    legend = {"computing": "computing", "waiting": "waiting"}
    if record.all_wait and record.merging + record.checking > 0.0:
        legend["merging"] = "merging, scores and stopping"
    label = "Timeline of the rounds: computing and waiting of each worker"
    return BarChart(label, _names(visible), record.end, list(_timeline(record, visible, limit)), legend)


def rows_shown(accounts: Sequence[WorkerTotals]) -> list[WorkerTotals]:
    """Return all workers, or ``MAX_ROWS`` evenly spaced by computing time, with the fastest and the slowest."""
    if len(accounts) <= MAX_ROWS:
        return list(accounts)
    ordered = sorted(accounts, key=lambda one: one.computing)
    chosen = {round(i * (len(ordered) - 1) / (MAX_ROWS - 1)) for i in range(MAX_ROWS)}
    return sorted((ordered[i] for i in chosen), key=lambda one: one.worker)


def _names(visible: Sequence[WorkerTotals]) -> list[str]:
    return [f"worker {one.worker}" for one in visible]


def _timeline(record: FitFacts, visible: Sequence[WorkerTotals], limit: int) -> Iterator[Bar]:
    rows = {one.worker: row for row, one in enumerate(visible)}
    n_spans = max(limit * len(record.accounts) // max(len(visible), 1), 1)
    if not record.all_wait:
        n_spans = min(n_spans, _INTERVALS * len(record.accounts))
        for one in visible:
            tip = f"worker {one.worker} waited {number_format.seconds(one.waiting)} in total"
            yield Bar(rows[one.worker], "waiting", 0.0, record.end, tip)
    first_round, start = None, 0.0
    for span in spans(record.history, in_turn=record.engine == "serial", most=n_spans):
        if span.first_round != first_round:
            first_round, start = span.first_round, span.began
        if span.worker not in rows:
            continue
        rounds = f"round {span.last_round + 1}"
        if span.last_round > span.first_round:
            rounds = f"rounds {span.first_round + 1} to {span.last_round + 1}"
        waited = number_format.seconds(max(span.ended - start - span.computing, 0.0))
        tip = f"{rounds}, worker {span.worker}: computed {number_format.seconds(span.computing)}, waited {waited}"
        took = f"{rounds}: merging, scores and stopping took {number_format.seconds(span.merged - span.ended)}"
        row, worked = rows[span.worker], min(span.began + span.computing, span.ended)
        if record.all_wait:
            yield Bar(row, "waiting", start, span.ended, tip)
        yield Bar(row, "computing", span.began, worked, tip)
        if record.all_wait:
            yield Bar(row, "merging", span.ended, span.merged, took)
