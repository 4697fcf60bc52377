"""Line charts: loss, score, merge weights and the times that a plan predicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from parsgd.planning.plan_table import TrainingPlan
from parsgd.training.reporting.history_stats import traces, weights
from parsgd.viz import number_format
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.svg import WIDTHS, Frame, mark, path, tag

_T = TypeVar("_T")
# Maximum points of a chart and lines of a chart that remain distinguishable.
_POINTS = {"wide": 160, "narrow": 60}
MAX_LINES = 8
# The axis is logarithmic above this ratio of the largest to the smallest value.
_LOG_RATIO = 30.0
_HEIGHT = 250


@dataclass(frozen=True)
class ChartLine:
    """A named line; ``points`` are ``(x, y, tip)``, with the text of the tooltip."""

    name: str
    points: Sequence[tuple[float, float, str]]


def loss_lines(record: FitFacts, over: str) -> tuple[list[ChartLine], str]:
    """Return the lines of the loss over ``"time"``, ``"passes"`` or ``"rounds"``, and the title of the x axis."""
    history = record.history
    if over == "passes":
        found = traces(history, record.n_rows or 1)
        if found:
            lines = [_trace(worker, points) for worker, points in found.items()]
            return [line for line in lines if line.points], "passes over the rows"
    unit, size = number_format.unit_of(record.end)
    xs = {
        "time": [entry["seconds"] / size for entry in history],
        "passes": [entry["epoch"] for entry in history],
        "rounds": [entry["round"] + 1 for entry in history],
    }[over]
    title = {"time": f"time, {unit}", "passes": "passes over the rows", "rounds": "rounds"}[over]
    points = [
        (x, entry["loss"], _tip(entry)) for x, entry in zip(xs, history, strict=True) if math.isfinite(entry["loss"])
    ]
    return [ChartLine("loss", points)] if points else [], title


def _trace(worker: int, points: Sequence[tuple], name: str = "loss") -> ChartLine:
    column = 1 if name == "loss" else 2
    finite = [
        (point[0], point[column], f"worker {worker}, pass {i + 1}: {name} {number_format.number(point[column])}")
        for i, point in enumerate(points)
        if point[column] is not None and math.isfinite(point[column])
    ]
    return ChartLine(f"worker {worker}", finite)


def _tip(entry: dict) -> str:
    when = f"round {entry['round'] + 1}, {entry['epoch']:.3g} passes, {number_format.seconds(entry['seconds'])}"
    return f"{when}: loss {number_format.number(entry['loss'])}"


def score_lines(record: FitFacts) -> list[ChartLine]:
    """Return the validation score over passes, if recorded; for a fit of one round, a line per worker."""
    own = [_trace(worker, points, "score") for worker, points in traces(record.history, record.n_rows or 1).items()]
    if any(line.points for line in own):
        return [line for line in own if line.points]
    points = [
        (entry["epoch"], entry["score"], f"{entry['epoch']:.3g} passes: score {number_format.number(entry['score'])}")
        for entry in record.history
        if entry.get("score") is not None
    ]
    return [ChartLine("score", points)] if len(points) > 1 else []


def weight_lines(record: FitFacts) -> list[ChartLine]:
    """Return the merge weights of each worker; for many workers the largest, the median and the smallest."""
    workers, found = weights(record.history)
    numbers = [entry["round"] + 1 for entry in record.history]
    if len(workers) <= MAX_LINES:
        names = [f"worker {worker}" for worker in workers]
        return [ChartLine(name, _weights(name, numbers, row)) for name, row in zip(names, found, strict=True)]
    rounds = [[weight for weight in column if weight is not None] for column in zip(*found, strict=True)]
    statistic = {"largest": max, "median": statistics.median, "smallest": min}
    return [
        ChartLine(name, _weights(name, numbers, [function(r) if r else None for r in rounds]))
        for name, function in statistic.items()
    ]


def _weights(name: str, numbers: Sequence[int], row: Sequence[float | None]) -> list[tuple[float, float, str]]:
    return [
        (number, weight, f"round {number}, {name}: weight {weight:.3f}")
        for number, weight in zip(numbers, row, strict=True)
        if weight is not None
    ]


def thinned(points: Sequence[_T], limit: int) -> list[_T]:
    """Return about ``limit`` evenly spaced points at most, with the first and the last.

    >>> thinned(range(10), 4)
    [0, 3, 6, 9]
    """
    every = max(1, -(-(len(points) - 1) // max(limit - 1, 1)))
    kept = list(points[::every])
    return kept if not points or kept[-1] is points[-1] or (len(points) - 1) % every == 0 else [*kept, points[-1]]


def plan_lines(plan: TrainingPlan) -> tuple[list[ChartLine], list[int], str]:
    """Return the predicted time of each strategy, the worker counts at x = 0, 1, ..., and the unit of the time."""
    counts = sorted({cell.n_workers for cell in plan.cells})
    found: dict[str, list[tuple[float, float, str]]] = {}
    unit, size = number_format.unit_of(max(cell.seconds for cell in plan.cells if cell.reaches))
    for cell in plan.cells:
        if cell.reaches:
            took = f"{cell.label}, {number_format.workers(cell.n_workers)}: {number_format.seconds(cell.seconds)}"
            tip = f"{took}, {cell.speedup:.1f} times as fast as one worker"
            found.setdefault(cell.label, []).append((float(counts.index(cell.n_workers)), cell.seconds / size, tip))
    return [ChartLine(label, sorted(points)) for label, points in found.items()][:MAX_LINES], counts, unit


def needs_log_scale(values: Sequence[float]) -> bool:
    """Return True if a logarithmic scale suits these values.

    >>> needs_log_scale([0.1, 100.0]), needs_log_scale([1.0, 2.0]), needs_log_scale([0.0, 100.0])
    (True, False, False)
    """
    return min(values) > 0.0 and max(values) / min(values) > _LOG_RATIO


def draw(
    lines: Sequence[ChartLine],
    x_title: str,
    y_title: str,
    label: str,
    size: str,
    from_zero: bool = False,
    names: Sequence[int] | None = None,
) -> str:
    """Draw the lines with their points as an SVG of this size; ``names`` label 0, 1, ... of the x axis."""
    xs = [point[0] for line in lines for point in line.points]
    ys = [point[1] for line in lines for point in line.points]
    low, high = min(ys), max(ys)
    log = needs_log_scale(ys) and not from_zero
    y = (low, high) if log else (0.0 if from_zero else low, high)
    pad = 0.0 if log else 0.06 * (y[1] - y[0]) or max(abs(high) * 0.1, 1e-3)
    # values of 0 or more need no axis below 0
    bottom = max(y[0] - pad, 0.0) if y[0] >= 0.0 else y[0] - pad
    y = (y[0] / 1.1, y[1] * 1.1) if log else (bottom, y[1] + pad)
    x = (0.0 if min(xs) >= 0 else min(xs), max(xs) if max(xs) > 0 else 1.0)
    y_title += ", log scale" if log else ""
    frame = Frame(WIDTHS[size], _HEIGHT, x, y, x_title, y_title, log_y=log)
    if names is not None:
        frame.x_ticks, frame.x_text = range(len(names)), lambda x: str(names[int(x)])
    for i, line in enumerate(lines):
        points = thinned(line.points, _POINTS[size] // max(1, min(len(lines), 4)))
        pixels = [(frame.sx(point[0]), frame.sy(point[1])) for point in points]
        frame.add(tag("path", class_=f"line s{i % MAX_LINES}", d=path(pixels)))
        radius = 3.5 if len(points) <= 40 else 2.5
        frame.add(
            *(
                mark("circle", point[2], class_=f"point s{i % MAX_LINES}", cx=px, cy=py, r=radius)
                for point, (px, py) in zip(points, pixels, strict=True)
            )
        )
    return frame.svg(label)
