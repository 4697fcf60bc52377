"""Bars: the time of all workers against the estimate for one, where each worker's time went, and the rounds in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parsgd.training.history_stats import WorkerTotals, spans
from parsgd.viz.report import number_format
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.speedup import Speedup
from parsgd.viz.report.svg import WIDTHS, Frame, mark

# Where a worker's time goes, in the order of the bars: the attribute of an account, and what it is called.
KINDS = {"computing": "computing", "merging": "merging", "checking": "scores and stopping", "waiting": "waiting"}
# More rows than these cannot be read, more bars neither.
MOST_ROWS = 24
MOST_SPANS = {"wide": 900, "narrow": 300}
# Where nobody waits, reports come at all times: so many stretches of time are shown, and bars in pixels are no thinner.
_STRETCHES = 60
_THINNEST = 0.05


def rows_shown(accounts: Sequence[WorkerTotals]) -> list[WorkerTotals]:
    """All workers, or as many as can be read, evenly chosen by their time of computing, the extremes among them."""
    if len(accounts) <= MOST_ROWS:
        return list(accounts)
    ordered = sorted(accounts, key=lambda one: one.computing)
    chosen = {round(i * (len(ordered) - 1) / (MOST_ROWS - 1)) for i in range(MOST_ROWS)}
    return sorted((ordered[i] for i in chosen), key=lambda one: one.worker)


def draw_worth(found: Speedup, n_workers: int, size: str) -> str:
    """Two bars: what it took, and what one worker would have taken."""
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
    """A bar for each worker: computing, then what the driver took, then waiting."""
    shown = rows_shown(record.accounts)
    unit, per = number_format.unit_of(record.end)
    height = _row_height(shown)
    frame = _frame(size, shown, max([record.end, *(one.computing for one in shown)]), unit, per)
    for i, one in enumerate(shown):
        y, at = frame.top + i * height, 0.0
        for kind, name in KINDS.items():
            part = getattr(one, kind)
            if part <= 0.0:
                continue
            tip = (
                f"worker {one.worker}, {name}: {number_format.seconds(part)} ({number_format.share(part, record.end)})"
            )
            left, right = frame.sx(at / per), frame.sx((at + part) / per)
            frame.add(mark("rect", tip, class_=kind, x=left, y=y, width=max(right - left, 0.5), height=height - 5))
            at += part
    return frame.svg("Where each worker's time went")


def draw_rounds(record: FitFacts, size: str) -> str:
    """A Gantt chart: in every round each worker's computing, its waiting, and then the driver's work.

    Where workers do not wait for merges, what is not computing is waiting.
    """
    shown = rows_shown(record.accounts)
    unit, per = number_format.unit_of(record.end)
    height = _row_height(shown)
    row_of = {one.worker: i for i, one in enumerate(shown)}
    frame = _frame(size, shown, record.end, unit, per)

    def bar(kind: str, worker: int, begins: float, ends: float, tip: str) -> None:
        left, right = frame.sx(begins / per), frame.sx(ends / per)
        if right - left > _THINNEST:
            y = frame.top + row_of[worker] * height
            frame.add(mark("rect", tip, class_=kind, x=left, y=y, width=right - left, height=height - 5))

    if not record.all_wait:
        for one in shown:
            tip = f"worker {one.worker} waited {number_format.seconds(one.waiting)} in all"
            bar("waiting", one.worker, 0.0, record.end, tip)
    for part in rounds_in_time(record, MOST_SPANS[size]):
        if part.worker in row_of and (record.all_wait or part.kind == "computing"):
            bar(part.kind, part.worker, part.began, part.ended, part.tip)
    return frame.svg("The rounds of the fit in time: who computed and who waited")


class TimelineBar(NamedTuple):
    """A bar of the Gantt chart: what a worker did from ``began`` to ``ended``, in seconds."""

    worker: int
    kind: str
    began: float
    ended: float
    tip: str


def rounds_in_time(record: FitFacts, most: int) -> Iterator[TimelineBar]:
    """The bars of all workers, at most about so many of each kind: waiting, on top of it computing, then merging."""
    n_shown = min(len(record.accounts), MOST_ROWS)
    n_spans = max(most * len(record.accounts) // max(n_shown, 1), 1)
    if not record.all_wait:
        n_spans = min(n_spans, _STRETCHES * len(record.accounts))
    stretch, start_state = None, 0.0
    for span in spans(record.history, in_turn=record.engine == "serial", most=n_spans):
        if span.first_round != stretch:
            stretch, start_state = span.first_round, span.began
        rounds = f"round {span.last_round + 1}"
        if span.last_round > span.first_round:
            rounds = f"rounds {span.first_round + 1} to {span.last_round + 1}"
        worked = min(span.began + span.computing, span.ended)
        waited = number_format.seconds(max(span.ended - start_state - span.computing, 0.0))
        tip = f"{rounds}, worker {span.worker}: computed {number_format.seconds(span.computing)}, waited {waited}"
        took = f"{rounds}: merging, scores and stopping took {number_format.seconds(span.merged - span.ended)}"
        yield TimelineBar(span.worker, "waiting", start_state, span.ended, tip)
        yield TimelineBar(span.worker, "computing", span.began, worked, tip)
        yield TimelineBar(span.worker, "merging", span.ended, span.merged, took)


def _row_height(shown: Sequence[WorkerTotals]) -> int:
    return 28 if len(shown) <= 10 else 16


def _frame(size: str, shown: Sequence[WorkerTotals], end: float, unit: str, per: float) -> Frame:
    """A plane with a row for each worker, named."""
    height = _row_height(shown)
    names = [f"worker {one.worker}" for one in shown]
    title, x = f"time, {unit}", (0.0, end / per or 1.0)
    frame = Frame(WIDTHS[size], 52 + height * len(shown), x, (0.0, 1.0), title, rows=names)
    for i in range(len(shown)):
        frame.add(frame.row_label(i, frame.top + i * height + height / 2 - 2))
    return frame
