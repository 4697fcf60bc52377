"""Line charts: loss, score, merge weights and the times that a plan predicts.

The page draws them as SVG, :mod:`parsgd.plotting` by matplotlib.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
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
_PASSES = "passes over the rows"


@dataclass(frozen=True)
class ChartLine:
    """A named line; ``points`` are ``(x, y, tip)``, with the text of the tooltip."""

    name: str
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class LineChart:
    """Lines with titles of the axes; ``names`` label 0, 1, ... of the x axis."""

    lines: Sequence[ChartLine]
    x_title: str
    y_title: str
    label: str
    from_zero: bool = False
    names: Sequence[str] = ()

    @property
    def values(self) -> list[float]:
        """The y values of all points."""
        return [point[1] for line in self.lines for point in line.points]

    @property
    def legend(self) -> dict[str, str]:
        """The classes and names of the lines; a single line needs no name, except in a plan."""
        several = len(self.lines) > 1 or self.names
        return {f"s{i}": line.name for i, line in enumerate(self.lines)} if several else {}

    def svg(self, size: str) -> str:
        """Draw the lines with their points as SVG in this size."""
        xs, ys = [point[0] for line in self.lines for point in line.points], self.values
        low, high = 0.0 if self.from_zero else min(ys), max(ys)
        log = needs_log_scale(ys) and not self.from_zero
        pad = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-3)
        # values of 0 or more need no axis below 0
        bottom = max(low - pad, 0.0) if low >= 0.0 else low - pad
        y = (low / 1.1, high * 1.1) if log else (bottom, high + pad)
        x = (min(*xs, 0.0), max(xs) if max(xs) > 0 else 1.0)
        frame = Frame(WIDTHS[size], _HEIGHT, x, y, self.x_title, self.y_title + ", log scale" * log, log_y=log)
        if self.names:
            frame.x_ticks, frame.x_text = range(len(self.names)), lambda x: self.names[int(x)]
        for i, line in enumerate(self.lines):
            color = f"s{i % MAX_LINES}"
            points = thinned(line.points, _POINTS[size] // max(1, min(len(self.lines), 4)))
            pixels = [(frame.sx(point[0]), frame.sy(point[1])) for point in points]
            frame.add(tag("path", class_=f"line {color}", d=path(pixels)))
            radius = 3.5 if len(points) <= 40 else 2.5
            for point, (px, py) in zip(points, pixels, strict=True):
                frame.add(mark("circle", point[2], class_=f"point {color}", cx=px, cy=py, r=radius))
        return frame.svg(self.label)


def loss_chart(record: FitFacts, over: str) -> LineChart:
    """Return the loss over ``"time"``, ``"passes"`` or ``"rounds"``; of one round, over the passes of each worker."""
    unit, size = number_format.unit_of(record.end)
    title = {"time": f"time, {unit}", "passes": _PASSES, "rounds": "rounds"}[over]
    lines = _traces(record, "loss") if over == "passes" else []
    if not lines:
        points = []
        for entry in record.history:
            x = {"time": entry["seconds"] / size, "passes": entry["epoch"], "rounds": entry["round"] + 1}[over]
            when = f"round {entry['round'] + 1}, {entry['epoch']:.3g} passes, {number_format.seconds(entry['seconds'])}"
            if math.isfinite(entry["loss"]):
                points.append((x, entry["loss"], f"{when}: loss {number_format.number(entry['loss'])}"))
        lines = [ChartLine("loss", points)] if points else []
    return LineChart(lines, title, "training loss", f"The training loss over {over}")


def score_chart(record: FitFacts) -> LineChart:
    """Return the validation score over passes, without lines if none was recorded."""
    lines = _traces(record, "score")
    if not lines:
        scored = [entry for entry in record.history if entry.get("score") is not None]
        points = [(entry["epoch"], entry["score"], f"{entry['epoch']:.3g} passes") for entry in scored]
        points = [(x, score, f"{when}: score {number_format.number(score)}") for x, score, when in points]
        lines = [ChartLine("score", points)] if len(points) > 1 else []
    title = "score on the validation rows"
    return LineChart(lines, _PASSES, title, f"The {title}")


def _traces(record: FitFacts, name: str) -> list[ChartLine]:
    """Return a line per worker of a fit of one round, or an empty list."""
    lines = []
    for worker, passes in traces(record.history, record.n_rows or 1).items():
        points = []
        for i, (epoch, loss, score) in enumerate(passes):
            value = loss if name == "loss" else score
            if value is not None and math.isfinite(value):
                tip = f"worker {worker}, pass {i + 1}: {name} {number_format.number(value)}"
                points.append((epoch, value, tip))
        lines += [ChartLine(f"worker {worker}", points)] if points else []
    return lines


def weight_chart(record: FitFacts) -> LineChart:
    """Return the merge weights of each worker; for many workers the largest, the median and the smallest."""
    workers, found = weights(record.history)
    rows = {f"worker {worker}": row for worker, row in zip(workers, found, strict=True)}
    if len(workers) > MAX_LINES:
        rounds = [[weight for weight in column if weight is not None] for column in zip(*found, strict=True)]
        statistic = {"largest": max, "median": statistics.median, "smallest": min}
        rows = {name: [function(r) if r else None for r in rounds] for name, function in statistic.items()}
    lines = []
    for name, row in rows.items():
        numbered = [(entry["round"] + 1, weight) for entry, weight in zip(record.history, row, strict=True)]
        points = [(n, w, f"round {n}, {name}: weight {w:.3f}") for n, w in numbered if w is not None]
        lines.append(ChartLine(name, points))
    return LineChart(lines, "rounds", "merge weight", "The merge weights of the workers", from_zero=True)


def plan_chart(plan: TrainingPlan) -> LineChart:
    """Return the predicted time of each strategy; the worker counts are at x = 0, 1, ..."""
    counts = sorted({cell.n_workers for cell in plan.cells})
    found: dict[str, list[tuple[float, float, str]]] = {}
    cells = [cell for cell in plan.cells if cell.reaches]
    unit, size = number_format.unit_of(max(cell.seconds for cell in cells))
    for cell in cells:
        took = f"{cell.label}, {number_format.workers(cell.n_workers)}: {number_format.seconds(cell.seconds)}"
        tip = f"{took}, {cell.speedup:.1f} times as fast as one worker"
        found.setdefault(cell.label, []).append((float(counts.index(cell.n_workers)), cell.seconds / size, tip))
    lines = [ChartLine(label, sorted(points)) for label, points in found.items()][:MAX_LINES]
    title, names = f"predicted time, {unit}", [f"{count:,}" for count in counts]
    return LineChart(lines, "workers", title, "Predicted times of the plan", names=names)


def tuning_chart(scores: Mapping[str, float]) -> LineChart:
    """Return the validation curves of a search: the scores by the setting's first parameter, a line for the others.

    ``scores`` maps names such as ``"alpha=0.1, eta0=1"`` to mean scores; settings that diverged are left out.
    """
    parsed = [(first, others) for first, _, others in (name.partition(", ") for name in scores)]
    values = list(dict.fromkeys(first for first, _ in parsed))
    lines: dict[str, list[tuple[float, float, str]]] = {}
    for (first, others), (name, score) in zip(parsed, scores.items(), strict=True):
        if math.isfinite(score):
            tip = f"{name}: {number_format.number(score)}"
            lines.setdefault(others, []).append((float(values.index(first)), score, tip))
    parameter = values[0].split("=")[0] if values else ""
    names = [value.partition("=")[2] for value in values]
    found = [ChartLine(others or parameter, points) for others, points in lines.items()][:MAX_LINES]
    return LineChart(found, parameter, "mean score of the folds", "The validation curves of the search", names=names)


def thinned(points: Sequence[_T], limit: int) -> list[_T]:
    """Return about ``limit`` evenly spaced points at most, with the first and the last.

    >>> thinned(range(10), 4)
    [0, 3, 6, 9]
    """
    every = max(1, -(-(len(points) - 1) // max(limit - 1, 1)))
    last = (len(points) - 1) % every != 0
    return [*points[::every], *points[-1:]] if last else list(points[::every])


def needs_log_scale(values: Sequence[float]) -> bool:
    """Return True if a logarithmic scale suits these values.

    >>> needs_log_scale([0.1, 100.0]), needs_log_scale([1.0, 2.0]), needs_log_scale([0.0, 100.0])
    (True, False, False)
    """
    return min(values) > 0.0 and max(values) / min(values) > _LOG_RATIO
