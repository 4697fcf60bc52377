"""Pieces of Markdown that figures and the page are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.readings import Reading

NOTHING = "\N{EN DASH}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """A table; columns of `words` are set to the left, the others, figures, to the right."""
    sides = ["---" if column in words else "---:" for column in range(len(header))]
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(sides) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """Three digits that matter: 1,230,000, 12.3, 0.0123."""
    if value is None:
        return NOTHING
    if abs(value) >= 10 ** (digits - 1):
        return f"{float(f'{value:.{digits}g}'):,.0f}"
    text = f"{value:.{digits}g}"
    return f"{value:.{digits - 1}e}" if "e" in text else text


def times(reading: Reading) -> str:
    """The ratio to the peer, with its quartiles: 4.31 (4.20 to 4.40)."""
    if reading.ratio is None:
        return NOTHING
    return f"{number(reading.ratio.median)} ({number(reading.ratio.low)} to {number(reading.ratio.high)})"


def readings_table(readings: Iterable[Reading]) -> str:
    """All there is about some readings: the plainest section of a figure."""
    header = ["problem", "solver", "setting", "median", "unit", "against", "times as good (quartiles)"]
    rows = [[r.problem, r.solver, r.setting, number(r.median), r.unit, r.peer or NOTHING, times(r)] for r in readings]
    return table(header, rows, words=(0, 1, 2, 4, 5))
