"""Colors, axes and lines that the displays share."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.viz.number_format import unit_of
from parsgd.viz.report.bar_charts import BarChart
from parsgd.viz.report.fit_facts import FitFacts, check_fitted, fit_facts_of
from parsgd.viz.report.line_charts import MAX_LINES, ChartLine, needs_log_scale
from parsgd.viz.report.run_metadata import RunMetadata

# Colors of the report's style sheet, distinguishable with color blindness; the dashes distinguish lines without color.
KINDS = {"computing": "#0072b2", "waiting": "#f2c879", "merging": "#009e73", "checking": "#cc79a7"}
LINES = ("#0072b2", "#d55e00", "#009e73", "#b0568a", "#a97400", "#3a9bd9", "#666666", "#6a4fb3")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
# Lines with more points have no markers.
_MAX_MARKERS = 40


def record_of(estimator: Any, display: str) -> FitFacts:
    """Return the facts about a fitted estimator; raise InvalidArgumentError if it has no rounds."""
    check_fitted(estimator, f"The 'estimator' parameter of {display}.from_estimator")
    found = fit_facts_of(estimator, RunMetadata())
    if not found.history:
        raise InvalidArgumentError(f"{display} plots the rounds of a fit, but {found.algorithm} has no rounds.")
    return found


class Display:
    """A plot with the attributes ``ax_`` and ``figure_``."""

    def use(self, ax: Any, n_rows: int | None = None) -> Any:
        """Return ``ax``, or the axes of a new figure with a height for ``n_rows`` rows, after setting the attributes.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError as error:
            raise MissingDependencyError("parsgd.plotting needs matplotlib: pip install 'parsgd[plot]'") from error
        size = (6.4, 4.8 if n_rows is None else 1.5 + 0.35 * n_rows)
        self.ax_: Any = pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
        self.figure_: Any = self.ax_.figure
        return self.ax_


def draw_lines(ax: Any, lines: Sequence[ChartLine], **settings: Any) -> None:
    """Plot the lines, with a legend if there are several."""
    for i, line in enumerate(lines):
        style = {
            "color": LINES[i % MAX_LINES],
            "linestyle": _DASHES[i % len(_DASHES)],
            "linewidth": 1.8,
            "markersize": 3.5,
            "marker": "o" if len(line.points) <= _MAX_MARKERS else None,
            "label": line.name,
        }
        ax.plot([point[0] for point in line.points], [point[1] for point in line.points], **(style | settings))
    if len(lines) > 1:
        ax.legend(frameon=False)


def finish(ax: Any, title: str, x: str, y: str = "") -> None:
    """Set the titles, and a grid behind the plot."""
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(axis="both" if y else "x", color="#d5d9de", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def draw_bars(ax: Any, chart: BarChart, title: str) -> None:
    """Plot the bars in rows from the top down, with the legend above them."""
    unit, size = unit_of(chart.end)
    places: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for bar in chart.bars:
        if bar.ended > bar.began:
            places.setdefault((bar.kind, bar.row), []).append((bar.began / size, (bar.ended - bar.began) / size))
    # later bars cover earlier ones, and those of waiting are the longest
    for (kind, row), spans in sorted(places.items(), key=lambda item: item[0][0] != "waiting"):
        ax.broken_barh(spans, (row - 0.4, 0.8), facecolors=KINDS[kind], linewidth=0)
    ax.set_xlim(0, chart.end / size or 1.0)
    ax.set_yticks(range(len(chart.rows)), chart.rows)
    ax.set_ylim(len(chart.rows) - 0.4, -0.6)
    finish(ax, title, f"time, {unit}")
    ax.set_title(title, loc="left", fontsize="medium", pad=24)
    patches = importlib.import_module("matplotlib.patches")
    ax.legend(
        handles=[patches.Patch(color=KINDS[kind], label=name) for kind, name in chart.legend.items()],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=4,
        frameon=False,
        fontsize="small",
        handlelength=1.2,
        borderaxespad=0.2,
    )


def set_log_scale(ax: Any, lines: Sequence[ChartLine]) -> bool:
    """Use a logarithmic y axis if it suits the lines; return True if so."""
    if not needs_log_scale([point[1] for line in lines for point in line.points]):
        return False
    ticker = importlib.import_module("matplotlib.ticker")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    return True
