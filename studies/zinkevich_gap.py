"""Experiments on the gap between 1 and 100 machines in the figures of Zinkevich et al. 2010."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from spam_runs import Found, Setting, Spam, curves
from zinkevich_printed import (
    N_ROWS,
    OBJECTIVES,
    PANELS,
    SHARE_OF_VARIANCE,
    STATED,
    UPDATES,
    Curves,
    Panel,
    difference,
    equal_rate,
    points_of,
    shares,
    shifts,
)

STARTS = (0.01, 0.02, 0.035, 0.1, 0.3, 1.0)
# single machines and groups of ten that are measured, to be quick
FEW = 5
# Of each variant: its settings and, unless it diverged, its curves.
Readings = list[dict[str, Any]]


class Variant(NamedTuple):
    """A change of the stated setting, the same for every panel."""

    name: str
    eta: float
    decay: float = 0.0
    start: float = 0.0
    unit_rows: bool = True


def variants(equal: float) -> Iterator[Variant]:
    """Yield the stated setting and its changes; ``equal`` is the rate at which a pass has the paper's eta n."""
    yield Variant("as stated", STATED)
    for eta in (equal, 0.3, 1.0):
        yield Variant("larger rate", eta)
    for eta, starts in ((STATED, STARTS), (equal, STARTS), (1.0, STARTS[2:5])):
        for start in starts:
            yield Variant("random starts", eta, start=start)
    for eta in (0.1, 1.0, 3.0, 10.0, 100.0):
        yield Variant("decaying rate", eta, decay=0.5)
    for eta in (STATED, 3e-3, 1e-2):
        yield Variant("rows not normalized", eta, unit_rows=False)
    for start in STARTS[:4]:
        yield Variant("rows not normalized, random starts", STATED, start=start, unit_rows=False)
    for eta in (1.0, 3.0, 10.0):
        for start in STARTS[2:5]:
            yield Variant("decaying rate, random starts", eta, decay=0.5, start=start)


def kinds(equal: float) -> tuple[Variant, ...]:
    """Return one or two variants of each kind, with gaps in some panel that are near the printed ones."""
    return (
        Variant("larger rate", 1.0),
        Variant("random starts", equal, start=0.035),
        Variant("random starts", equal, start=0.3),
        Variant("decaying rate", 10.0, decay=0.5),
        Variant("decaying rate, random starts", 3.0, decay=0.5, start=0.3),
        Variant("rows not normalized, random starts", STATED, start=0.035, unit_rows=False),
    )


def printed() -> str:
    """Return a table of shifts and shares of the printed curves."""
    text = "| panel | " + " | ".join(f"{n // 1000:,}k" for n in UPDATES) + " |\n" + "|---" * (len(UPDATES) + 1) + "|\n"
    for panel in PANELS:
        power = 1 if panel.quantity == "objective" else 2
        title = panel.title.replace("RMSE", "squared RMSE")
        if power == 1:
            found = shifts(panel.curves, UPDATES, N_ROWS)
            text += f"| {title}: shift | " + " | ".join(times(value) for value in found) + " |\n"
            gap = panel.curves[1] - panel.curves[100]
            text += f"| {title}: gap | " + " | ".join(number(value) for value in gap) + " |\n"
            decayed = gap[0] * np.exp(-2.0 * STATED * panel.lam * (UPDATES - UPDATES[0]))
            text += f"| the gap, decayed by the penalty | {' | '.join(number(value) for value in decayed)} |\n"
        columns = shares(panel.curves, panel.error, power).T
        for name, column in zip(("least", "as read", "most"), columns, strict=True):
            text += f"| {title}: share, {name} | " + " | ".join(number(value) for value in column) + " |\n"
    return text


def times(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "> a pass"


def number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def cell(found: Curves, panel: Panel, examples: np.ndarray, n_rows: int) -> str:
    """Return the first point of k = 1, 10, 100; shifts at the first, fifth and last point; share; difference."""
    first = " / ".join(f"{found[k][0]:.2f}" for k in found)
    moved = " / ".join(times(value) for value in shifts(found, examples, n_rows)[[0, 4, 7]])
    known = shares(found)[:, 1]
    share = number(np.nanmean(known)) if np.isfinite(known).any() else "-"
    return f"{first} | {moved} | {share} | {difference(found, panel):.2f}"


def not_normalized(data: Spam) -> Spam:
    """Return the same rows with ones instead of values of unit length."""
    X, X_test = data.X.copy(), data.X_test.copy()
    X.data[:], X_test.data[:] = 1.0, 1.0
    return Spam(X, data.y, X_test, data.y_test)


def measure(data: Spam, panel: Panel) -> Readings:
    """Return the readings of all variants for the loss and lambda of a panel."""
    raw, readings = not_normalized(data), []
    for variant in variants(equal_rate(len(data.y))):
        setting = Setting(panel.loss, panel.lam, variant.eta, variant.decay, variant.start)
        found = curves(setting, data if variant.unit_rows else raw, FEW)
        reading = {"name": variant.name, "unit_rows": variant.unit_rows}
        # curves of runs that diverged may be infinite
        readings.append(reading | ({**setting._asdict(), "diverged": True} if found.diverged else found.reading()))
        print(f"  {panel.title} {row(panel, readings[-1], len(data.y))[1]}", end="", flush=True)
    return readings


def row(panel: Panel, reading: dict[str, Any], n_rows: int) -> tuple[float, str]:
    """Return the difference of a variant from a panel, infinity if it diverged, and its row of the table."""
    head = f"| {reading['name']} | {rate_of(reading)} | {reading['start']:g} |"
    if reading.get("diverged"):
        return np.inf, f"{head} diverged | | | | |\n"
    found = Found.of(reading, n_rows)
    scatter = " / ".join(f"{value:.2f}" for value in found.scatter)
    what = cell(found.objective, panel, found.examples, n_rows)
    return difference(found.objective, panel), f"{head} {what} | {scatter} |\n"


def rate_of(reading: dict[str, Any]) -> str:
    return f"{reading['eta']:.3g}" + " t^-1/2" * bool(reading["decay"])


def decays(readings: list[tuple[Panel, Readings]], n_rows: int) -> str:
    """Return a table of gaps relative to the first one: printed, and of one or two variants of each kind."""
    text, examples = DECAYS + "| panel | source | eta | s | first gap | ", points_of(n_rows)
    text += " | ".join(f"{x:,}" for x in examples) + " |\n" + "|---" * (len(examples) + 5) + "|\n"
    for panel, found in readings:
        gap = panel.curves[1] - panel.curves[100]
        text += f"| {panel.title} | **printed** | 0.001 | | {gap[0]:.2f} | {relative(gap)} |\n"
        for variant in kinds(equal_rate(n_rows)):
            (reading,) = (each for each in found if variant_of(each) == variant)
            if not reading.get("diverged"):
                objective = Found.of(reading, n_rows).objective
                gap = objective[1] - objective[100]
                text += f"| | {variant.name} | {rate_of(reading)} | {variant.start:g} | {gap[0]:.2f} |"
                text += f" {relative(gap)} |\n"
    return text


def variant_of(reading: dict[str, Any]) -> Variant:
    return Variant(**{name: reading[name] for name in Variant._fields})


def relative(gap: np.ndarray) -> str:
    return " | ".join(number(value) for value in gap / gap[0])


def tables(readings: list[tuple[Panel, Readings]], n_rows: int) -> str:
    """Return a table for each panel of an objective: the paper, and the variants in the order of their difference."""
    text = ""
    for panel, found in readings:
        rows = [row(panel, reading, n_rows) for reading in found]
        text += f"\n### {panel.title}\n\n"
        text += "| change | eta | s | first point, k = 1 / 10 / 100 | shift at points 1 / 5 / 8 | share | difference |"
        text += " scatter |\n" + "|---" * 8 + "|\n"
        text += f"| **the paper** | 0.001 | | {cell(panel.curves, panel, UPDATES, N_ROWS)} | |\n"
        text += "".join(line for _, line in sorted(rows, key=lambda pair: pair[0]))
    return text


def section(readings: dict[str, Readings], n_rows: int) -> str:
    """Return the section; ``readings`` are those of :func:`measure` by the title of the panel."""
    by_panel = [(panel, readings[panel.title]) for panel in OBJECTIVES if panel.title in readings]
    text = TEXT + printed() + EXPERIMENTS.format(equal=equal_rate(n_rows), few=FEW)
    return text + decays(by_panel, n_rows) + tables(by_panel, n_rows)


DECAYS = """
### Gaps relative to the first one

The gap `E_1 - E_100` at each point is divided by that at the first point. The points are at the same fractions of a
pass in the paper and here.

"""
TEXT = f"""
## The gap between 1 and 100 machines

The printed curves have three properties that can be computed from the readings alone.

- **Shift**: at each point, the factor by which one machine needs more examples to reach the value of 100 machines. The
  curve of one machine is continued to 1 after a pass.
- **Gap**: `E_1 - E_100`. The penalty alone shrinks a random start by `1 - eta lambda` per step, and its part of the
  objective as `exp(-2 eta lambda n)`. A row of the table has the first gap with this decay.
- **Share**: `(E_10 - E_100) / (E_1 - E_100)` of the objectives E. The average of k independent, identically distributed
  models has a mean of `E_k = a + b / k` if the objective is quadratic, as with squared loss. The share is then
  {SHARE_OF_VARIANCE:.3f}, with random starts and with equally correlated models too. The same holds for the squared
  RMSE with either loss. "Least" and "most" move all three values by the reading error.

"""

EXPERIMENTS = """
The next tables change the stated setting: a larger rate, random starts `w_0 ~ N(0, s^2 I)` of each machine, a rate
`eta t^-1/2`, and binary rows without normalization. {equal:.3g} is the rate at which a pass over our rows has the
paper's eta n. Each row averages 100 machines, and the values of k = 1 and k = 10 are means of {few}. Each row is
relative to a sequential pass with the same change. "Difference" is the mean distance of the natural logarithms of our
24 values from the printed ones, and the rows are in its order. A share is the mean over the points with a gap above
0.02. "Scatter" is the standard deviation between single machines, and between groups of ten, at the first point.
"""
