"""Bar charts: the speedup estimate, the time of each worker, and the timeline of the rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parsgd.training.reporting.history_stats import WorkerTotals, spans
from parsgd.viz import number_format
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import WIDTHS, Frame, mark

# Activities of a worker in the order of the bars.
KINDS = {"computing": "computing", "merging": "merging", "checking": "scores and stopping", "waiting": "waiting"}
# Maximum rows and bars of a readable chart.
MAX_ROWS = 24
MAX_SPANS = {"wide": 900, "narrow": 300}
# Time intervals shown if workers do not wait for merges, because their reports have no common rounds.
_INTERVALS = 60
# Minimum width of a bar in pixels.
_MIN_WIDTH = 0.05


def activities(totals: WorkerTotals) -> dict[str, float]:
    """Return the seconds of each of the :data:`KINDS` of activities."""
    return {name: vars(totals)[name] for name in KINDS}


def rows_shown(accounts: Sequence[WorkerTotals]) -> list[WorkerTotals]:
    """Return all workers, or ``MAX_ROWS`` evenly spaced by computing time, with the fastest and the slowest."""
    if len(accounts) <= MAX_ROWS:
        return list(accounts)
    ordered = sorted(accounts, key=lambda one: one.computing)
    chosen = {round(i * (len(ordered) - 1) / (MAX_ROWS - 1)) for i in range(MAX_ROWS)}
    return sorted((ordered[i] for i in chosen), key=lambda one: one.worker)


def draw_speedup(found: Speedup, n_workers: int, size: str) -> str:
    """Draw the time of the fit and the estimate for one worker."""
    values = {number_format.workers(n_workers): found.seconds, "1, estimated": found.serial_seconds}
    unit, per = number_format.unit_of(max(values.values()))
    top = max(values.values()) / per
    frame = Frame(WIDTHS[size], 124, (0.0, top * 1.02), (0.0, 2.0), f"time, {unit}", rows=list(values))
    for i, (name, value) in enumerate(values.items()):
        y = frame.top + i * 38
        frame.add(frame.row_label(i, y + 15))
        kind, length = "estimate" if i else "computing", max(frame.sx(value / per) - frame.left, 1.0)
        tip = f"{name}: {number_format.seconds(value)}"
        frame.add(mark("rect", tip, class_=kind, x=frame.left, y=y, width=length, height=30, rx=2))
    return frame.svg(f"Time of {number_format.workers(n_workers)} against the estimate for one worker")


def draw_work(record: FitFacts, size: str) -> str:
    """Draw a bar per worker: computing, the driver's work, and waiting."""
    visible = rows_shown(record.accounts)
    unit, per = number_format.unit_of(record.end)
    height = _row_height(visible)
    frame = _frame(size, visible, max([record.end, *(one.computing for one in visible)]), unit, per)
    for i, one in enumerate(visible):
        y, at = frame.top + i * height, 0.0
        for kind, part in activities(one).items():
            if part <= 0.0:
                continue
            share = number_format.share(part, record.end)
            tip = f"worker {one.worker}, {KINDS[kind]}: {number_format.seconds(part)} ({share})"
            left, right = frame.sx(at / per), frame.sx((at + part) / per)
            frame.add(mark("rect", tip, class_=kind, x=left, y=y, width=max(right - left, 0.5), height=height - 5))
            at += part
    return frame.svg("Time of each worker by activity")


def draw_rounds(record: FitFacts, size: str) -> str:
    """Draw a Gantt chart: computing and waiting of each worker in each round, then the driver's work."""
    visible = rows_shown(record.accounts)
    unit, per = number_format.unit_of(record.end)
    height = _row_height(visible)
    frame = _frame(size, visible, record.end, unit, per)

    for bar in timeline(record, visible, MAX_SPANS[size]):
        left, right = frame.sx(bar.began / per), frame.sx(bar.ended / per)
        if right - left > _MIN_WIDTH:
            y = frame.top + bar.row * height
            frame.add(mark("rect", bar.tip, class_=bar.kind, x=left, y=y, width=right - left, height=height - 5))
    return frame.svg("Timeline of the rounds: computing and waiting of each worker")


class TimelineBar(NamedTuple):
    """A bar of the Gantt chart: an activity of the worker in a row from ``began`` to ``ended``, in seconds."""

    row: int
    kind: str
    began: float
    ended: float
    tip: str


def timeline(record: FitFacts, visible: Sequence[WorkerTotals], limit: int) -> Iterator[TimelineBar]:
    """Yield the bars of the visible workers in drawing order, about ``limit`` of each kind at most.

    If workers do not wait for merges, all time without computing is waiting.
    """
    rows = {one.worker: row for row, one in enumerate(visible)}
    n_spans = max(limit * len(record.accounts) // max(len(visible), 1), 1)
    if not record.all_wait:
        n_spans = min(n_spans, _INTERVALS * len(record.accounts))
        for one in visible:
            tip = f"worker {one.worker} waited {number_format.seconds(one.waiting)} in total"
            yield TimelineBar(rows[one.worker], "waiting", 0.0, record.end, tip)
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
            yield TimelineBar(row, "waiting", start, span.ended, tip)
        yield TimelineBar(row, "computing", span.began, worked, tip)
        if record.all_wait:
            yield TimelineBar(row, "merging", span.ended, span.merged, took)


def _row_height(visible: Sequence[WorkerTotals]) -> int:
    return 28 if len(visible) <= 10 else 16


def _frame(size: str, visible: Sequence[WorkerTotals], end: float, unit: str, per: float) -> Frame:
    """Return a frame with a labeled row per worker."""
    height = _row_height(visible)
    names = [f"worker {one.worker}" for one in visible]
    title, x = f"time, {unit}", (0.0, end / per or 1.0)
    frame = Frame(WIDTHS[size], 52 + height * len(visible), x, (0.0, 1.0), title, rows=names)
    for i in range(len(visible)):
        frame.add(frame.row_label(i, frame.top + i * height + height / 2 - 2))
    return frame
