"""Colors, axes and lines that the displays share."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.viz.report import bar_charts
from parsgd.viz.report.fit_facts import FitFacts, check_fitted, fit_facts_of
from parsgd.viz.report.line_charts import MAX_LINES, ChartLine, needs_log_scale
from parsgd.viz.report.run_metadata import RunMetadata

# Colors of the report's style sheet, distinguishable with color blindness; the dashes distinguish lines without color.
KINDS = {"computing": "#0072b2", "waiting": "#f2c879", "merging": "#009e73", "checking": "#cc79a7"}
LINES = ("#0072b2", "#d55e00", "#009e73", "#b0568a", "#a97400", "#3a9bd9", "#666666", "#6a4fb3")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
# Lines with more points have no markers.
_MAX_MARKERS = 40


def record(estimator: Any, display: str) -> FitFacts:
    """Return the facts about a fitted estimator; raise InvalidArgumentError if it has no rounds."""
    check_fitted(estimator, f"The 'estimator' parameter of {display}.from_estimator")
    found = fit_facts_of(estimator, RunMetadata())
    if not found.history:
        raise InvalidArgumentError(f"{display} plots the rounds of a fit, but {found.algorithm} has no rounds.")
    return found


def axes(ax: Any, n_rows: int | None = None) -> Any:
    """Return ``ax``, or the axes of a new figure with a height for ``n_rows`` rows."""
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise MissingDependencyError("parsgd.plotting needs matplotlib: pip install 'parsgd[plot]'") from error
    size = (6.4, 4.8 if n_rows is None else 1.5 + 0.35 * n_rows)
    return pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


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


def rows(ax: Any, names: Sequence[str], title: str, x: str) -> None:
    """Label the rows from the top down, and place the legend above them."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    finish(ax, title, x)
    ax.set_title(title, loc="left", fontsize="medium", pad=24)
    entries = sorted(zip(*ax.get_legend_handles_labels(), strict=True), key=lambda entry: _order(entry[1]))
    ax.legend(
        [handle for handle, _ in entries],
        [name for _, name in entries],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=4,
        frameon=False,
        fontsize="small",
        handlelength=1.2,
        borderaxespad=0.2,
    )


def _order(name: str) -> int:
    return next((i for i, kind in enumerate(bar_charts.KINDS.values()) if name.startswith(kind)), len(bar_charts.KINDS))


def set_log_scale(ax: Any, values: Sequence[float]) -> bool:
    """Use a logarithmic y axis if it suits the values; return True if so."""
    if not needs_log_scale(values):
        return False
    ticker = importlib.import_module("matplotlib.ticker")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    return True
