"""What the displays have in common: colours, axes, and lines."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.viz.report import bar_charts
from parsgd.viz.report.fit_facts import FitFacts, check_fitted, fit_facts_of
from parsgd.viz.report.line_charts import MOST_LINES, ChartLine, ratios
from parsgd.viz.report.run_metadata import RunMetadata

# Those of the report's style sheet: told apart by who does not see all colours, and by their dashes without any.
KINDS = {"computing": "#0072b2", "waiting": "#f2c879", "merging": "#009e73", "checking": "#cc79a7"}
LINES = ("#0072b2", "#d55e00", "#009e73", "#b0568a", "#a97400", "#3a9bd9", "#666666", "#6a4fb3")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
# A line of more points than these is drawn without marks.
_MARKED = 40


def record(estimator: Any, display: str) -> FitFacts:
    """What there is to draw of a fitted estimator; refuses one that has no rounds."""
    check_fitted(estimator, f"The 'estimator' parameter of {display}.from_estimator")
    found = fit_facts_of(estimator, RunMetadata())
    if not found.history:
        raise InvalidArgumentError(f"{display} shows the rounds of a fit, and {found.algorithm} has none.")
    return found


def axes(ax: Any, n_rows: int | None = None) -> Any:
    """``ax``, or axes of a new figure, of a height for so many rows."""
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise MissingDependencyError("parsgd.plotting needs matplotlib: pip install 'parsgd[plot]'") from error
    size = (6.4, 4.8 if n_rows is None else 1.5 + 0.35 * n_rows)
    return pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def draw_lines(ax: Any, lines: Sequence[ChartLine], **settings: Any) -> None:
    """The lines with their points, and their names where there are several."""
    for i, line in enumerate(lines):
        look = {
            "color": LINES[i % MOST_LINES], "linestyle": _DASHES[i % len(_DASHES)], "linewidth": 1.8, "markersize": 3.5,
            "marker": "o" if len(line.points) <= _MARKED else None, "label": line.name,
        }  # fmt: skip
        ax.plot([point[0] for point in line.points], [point[1] for point in line.points], **(look | settings))
    if len(lines) > 1:
        ax.legend(frameon=False)


def finish(ax: Any, title: str, x: str, y: str = "") -> None:
    """Titles with units, and a grid behind what is drawn."""
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(axis="both" if y else "x", color="#d5d9de", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def rows(ax: Any, names: Sequence[str], title: str, x: str) -> None:
    """What is drawn in rows: their names, from the top down, and above them what the colours stand for."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    finish(ax, title, x)
    ax.set_title(title, loc="left", fontsize="medium", pad=24)
    named = sorted(zip(*ax.get_legend_handles_labels(), strict=True), key=lambda pair: _place(pair[1]))
    ax.legend(
        [handle for handle, _ in named], [name for _, name in named], loc="lower left", bbox_to_anchor=(-0.01, 1.0),
        ncols=4, frameon=False, fontsize="small", handlelength=1.2, borderaxespad=0.2,
    )  # fmt: skip


def _place(name: str) -> int:
    return next((i for i, kind in enumerate(bar_charts.KINDS.values()) if name.startswith(kind)), len(bar_charts.KINDS))


def by_ratios(ax: Any, values: Sequence[float]) -> bool:
    """A scale of ratios, with plain numbers, where it shows more; and whether it does."""
    if not ratios(values):
        return False
    ticker = importlib.import_module("matplotlib.ticker")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    return True
