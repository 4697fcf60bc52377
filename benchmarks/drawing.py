"""Pictures of readings, by matplotlib, as SVG files whose bytes depend on nothing but the readings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

OURS, THEIRS, LIMIT = "#3f51b5", "#9e9e9e", "#d32f2f"


def figure(width: float = 8.0, height: float = 4.0, rows: int = 1, columns: int = 1):
    """A matplotlib figure and its axes (a list), in the page's style; nothing is shown on a screen."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return drawn, list(axes)


def keep(drawn, folder: Path, name: str) -> Path:
    """Write `folder/benchmarks-name.svg`."""
    return save(drawn, folder / f"benchmarks-{name}.svg")


def save(drawn, path: Path) -> Path:
    """Write an SVG file."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "parsgd", "svg.fonttype": "none", "font.family": "sans-serif"}):
        drawn.savefig(path, metadata={"Date": None})
    return path


def bars(
    axis,
    labels: Sequence[str],
    values: Sequence[float],
    spreads: Sequence[tuple[float, float]] | None = None,
    colors: Sequence[str] | str = OURS,
) -> None:
    """Horizontal bars, the first on top; `spreads` (low, high)."""
    places = list(range(len(labels)))
    around = None
    if spreads is not None:
        around = [
            [max(v - low, 0) for v, (low, _) in zip(values, spreads, strict=True)],
            [max(high - v, 0) for v, (_, high) in zip(values, spreads, strict=True)],
        ]
    axis.barh(places, values, xerr=around, color=colors, height=0.65, error_kw={"lw": 1, "ecolor": "#333333"})
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
