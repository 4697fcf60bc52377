"""Plots of the loss over time: in the terminal by plotext, in a file by matplotlib.

A curve is a step function, because the merged model is constant between merges.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.option_values import check_folder
from parsgd.errors import MissingDependencyError
from parsgd.planning.trials.heldout import CurvePoint
from parsgd.viz.number_format import unit_of
from parsgd.viz.plots import plot_style
from parsgd.viz.report.line_charts import ChartLine

Curves = dict[str, Sequence[CurvePoint]]

_MARKERS, _COLORS = "•+xo*#", ("blue", "orange", "green", "red", "magenta", "cyan")
_HEIGHT, _WIDEST = 18, 110
_SUFFIXES = (".png", ".pdf", ".svg")


def check_libraries(terminal: bool, figure: Path | None) -> None:
    """Check before training that the plots can be drawn afterwards."""
    # plotext 6 lacks the functions of plotext 5
    if terminal and not _has("plotext", "plotsize"):
        raise MissingDependencyError("The plot needs plotext 5: pip install 'parsgd[cli]'; --json draws no plot.")
    if figure is not None:
        if not _has("matplotlib", "rcParams"):
            raise MissingDependencyError("--figure needs matplotlib: pip install 'parsgd[plot]'")
        if figure.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"--figure {figure}: the name must end in {', '.join(_SUFFIXES)}.")
        check_folder(figure, "--figure")


def _has(package: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(package), name)
    except ImportError:
        return False


def make_steps(curves: Curves) -> tuple[dict[str, tuple[list[float], list[float]]], str]:
    """Return times and losses of each curve as a step function up to the last end, and the unit of the times.

    >>> make_steps({"local": [CurvePoint(0.0, 0.0, 0.7), CurvePoint(2.0, 1.0, 0.5)]})
    ({'local': ([0.0, 2.0, 2.0, 2.0], [0.7, 0.7, 0.5, 0.5])}, 's')
    """
    end = max(curve[-1].seconds for curve in curves.values())
    unit, size = unit_of(end)
    steps = {}
    for name, curve in curves.items():
        starts = [point.seconds / size for point in curve]
        times = [time for pair in zip(starts, [*starts[1:], end / size], strict=True) for time in pair]
        steps[name] = times, [point.loss for point in curve for _ in range(2)]
    return steps, unit


def draw_in_terminal(curves: Curves, loss: str, width: int, colors: bool) -> str:
    """Return the curves as lines of text, at most ``width`` characters wide."""
    import plotext

    steps, unit = make_steps(curves)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(min(width, _WIDEST), _HEIGHT)
    for i, (name, (times, losses)) in enumerate(steps.items()):
        settings = {"color": _COLORS[i % len(_COLORS)]} if colors else {}
        plotext.plot(times, losses, label=name, marker=_MARKERS[i % len(_MARKERS)], **settings)
    plotext.xlabel(f"virtual time, {unit}")
    plotext.title(loss)
    text = plotext.build()
    plotext.clear_figure()
    text = text if colors else plotext.uncolorize(text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def save_figure(curves: Curves, loss: str, path: Path) -> None:
    """Save the curves as a figure in the style of :mod:`parsgd.plotting`; the suffix of ``path`` gives the format."""
    from matplotlib.figure import Figure

    steps, unit = make_steps(curves)
    # without pyplot no window opens and no back end is selected
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    lines = [ChartLine(name, [(*point, "") for point in zip(*both, strict=True)]) for name, both in steps.items()]
    plot_style.draw_lines(axes, lines, marker=None)
    plot_style.finish(axes, "" if len(curves) > 1 else next(iter(curves)), f"virtual time, {unit}", loss)
    figure.savefig(path, dpi=150)
