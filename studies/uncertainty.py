"""Coverage of confidence intervals of linear models from averaged SGD, on generated rows with known coefficients.

Usage: python studies/uncertainty.py [--only linear ...] [--page-only]
       python studies/uncertainty.py --quick --only linear --stored FILE.json --out FILE.md

The readings are in studies/readings/uncertainty.json; the page is written from all of them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from stored_study import Stored, StoredStudy
from uncertainty_runs import LEVEL, RATES, WORKERS, Cell, measure_cell, measure_early

from benchmarks.markdown import table
from parsgd.estimators.linear.uncertainty.refusals import MAX_SHIFT, MIN_ROWS_PER_COEFFICIENT
from parsgd.utils import blas_threads

STUDY = StoredStudy("uncertainty", one_core=True, generated=True, libraries=("parsgd", "numpy", "scipy"))
REPETITIONS, QUICK_REPETITIONS = 1000, 20
DESIGNS = {
    "linear": ("independent", "correlated", "heteroscedastic", "misspecified"),
    "logistic": ("independent", "correlated", "misspecified"),
}
# dimension of the cells of 2,000 rows in which all methods are measured
ALL_METHODS = 20
CELLS = {
    **{model: [Cell(model, design, 2000, d) for d in (5, 20, 50) for design in DESIGNS[model]] for model in DESIGNS},
    "larger": [
        *(Cell(model, design, 10_000, 20) for model in DESIGNS for design in ("correlated", "misspecified")),
        *(Cell(model, "misspecified", 50_000, 5, 10) for model in DESIGNS),
    ],
    # little more than the fewest rows that are not refused
    "smaller": [
        *(Cell("linear", design, 220, 20, 100) for design in DESIGNS["linear"]),
        *(Cell("logistic", design, 500, 20, 100) for design in DESIGNS["logistic"]),
    ],
}
EARLY, EARLY_ROWS, EARLY_PASSES = "early", 2000, (1, 5, 20)
PARTS = (*CELLS, EARLY)
COMMENT = "<!-- figures: python studies/uncertainty.py -->"
PAGE = """# Coverage of confidence intervals

{comment}

This page measures the intervals of `estimate_uncertainty` ([uncertainty](../uncertainty.md)) on generated rows, whose
best coefficients are known. `python studies/uncertainty.py` writes this page from the readings in
`studies/readings/uncertainty.json`, in about {minutes} minutes of one core. Each line has {repetitions:,} repetitions
with new rows, so the binomial error of a coverage of {level:.0%} is {error:.1%} for one coefficient.

- **Rows** are normal. In `independent` the features are independent. In all other designs their correlation is
  `0.5^abs(i - j)`. `heteroscedastic` has noise of variance `(1 + 3 x_1^2) / 4`. In `misspecified` the true score has a
  term in `x_1^2` that the model lacks, so the best coefficients are those with the least expected loss.
- **Fits** have no penalty, and `average` starts after the first pass. They make {passes} passes, 100 with
  few rows and 10 with 50,000 rows, with `learning_rate="invscaling"` and `power_t=0.5`.
- **Coverage** is that of {level:.0%} intervals, over all coefficients and the intercept, and of the first coefficient,
  which heteroscedastic noise and the missing term affect most. The goal is 93 to 97 %.
- **Length** is relative to the ideal one: 2 x 1.96 standard deviations of the exact estimates (least squares, maximum
  likelihood) over the repetitions.
- **Plug-in** intervals are those of `estimate_uncertainty`. The share in brackets was refused, and coverage is that of
  the others. **Corrected** ones are those with `correct=True`. **Classical** ones are computed at the exact optimum and
  assume that the model is true.

{about}

## Linear and logistic models

{comment}

{main}
## More rows

{comment}

{larger}
## Few rows

{comment}

The number of rows is just above the limit of {fewest} rows per coefficient, for a classifier of the rarer class.

{smaller}
## Other methods

{comment}

- **Spread of {workers} workers**: the mean of fits to {workers} disjoint shards, with the quantile of Student's
  distribution times their standard deviation over `sqrt({workers})`.
- **Batch means** (Chen, Lee, Tong, Zhang 2020) and **random scaling** (Lee, Liao, Seo, Shin 2022) make one pass with
  the rate `eta0 t^-0.505`. Of {n_rates} values of `eta0` each has the one whose coverage is nearest to {level:.0%}, in
  brackets.

{others}
## Fits that end early

{comment}

{early_rows:,} rows, correlated, 20 features. "No test" gives the coverage of the same intervals around every state. The
test refuses a state that is over {shift} standard errors from the optimum in any coefficient.

{early}"""


def show(method: dict[str, Any], which: str = "coverage") -> str:
    """Return a coverage in percent, with the share of refusals if there were any."""
    value = method[which]
    refused = f" ({method['refused']:.1%})" if method["refused"] > 0 else ""
    return ("none" if value is None or math.isnan(value) else f"{value:.1%}") + refused


def length(method: dict[str, Any]) -> str:
    value = method["length"]
    return "" if value is None or math.isnan(value) else f"{value:.2f}"


def main_table(entries: list[dict[str, Any]]) -> str:
    """A line per cell: coverage and length of three methods."""
    rows = []
    for entry in entries:
        plug_in, corrected, classical = (entry["methods"][name] for name in ("plug-in", "corrected", "classical"))
        shown = [show(plug_in), show(plug_in, "first"), length(plug_in), show(corrected), show(corrected, "first")]
        rows.append([entry["cell"], *shown, show(classical), show(classical, "first"), length(classical)])
    header = ["model", "plug-in: all", "first", "length", "corrected: all", "first"]
    return table([*header, "classical: all", "first", "length"], rows)


def others_table(entries: list[dict[str, Any]]) -> str:
    """A line per cell with all methods: coverage of all coefficients, and length."""
    names = ("plug-in", f"spread of {WORKERS} workers", "batch means", "random scaling")
    rows = []
    for entry in entries:
        if names[-1] in entry["methods"]:
            found = [entry["methods"][name] for name in names]
            cells = [show(each) + (f" ({each['rate']:g})" if "rate" in each else "") for each in found]
            rows.append(
                [entry["cell"], *(cell for pair in zip(cells, map(length, found), strict=True) for cell in pair)]
            )
    return table(["model", *(cell for name in names for cell in (name, "length"))], rows)


def early_table(rows: list[dict[str, Any]]) -> str:
    """A line per model, state and number of passes."""
    lines = []
    for row in rows:
        methods = row["methods"]
        shown = [show(methods["unchecked"]), f"{methods['plug-in']['refused']:.0%}"]
        plug_in, corrected = ({**methods[name], "refused": 0.0} for name in ("plug-in", "corrected"))
        shown += [show(plug_in), f"{methods['corrected']['refused']:.0%}", show(corrected)]
        lines.append([row["model"], row["state"], str(row["passes"]), *shown])
    header = ["model", "state", "passes", "no test", "plug-in: refused", "coverage", "corrected: refused", "coverage"]
    return table(header, lines, words=(0, 1))


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    parts = [stored[name] for name in PARTS if name in stored]
    cells = {name: stored[name]["cells"] if name in stored else [] for name in CELLS}
    every = [cell for name in CELLS for cell in cells[name]]
    repetitions = max(parts[0]["repetitions"], 1)
    text = PAGE.format(
        comment=COMMENT,
        minutes=math.ceil(sum(entry["about"]["seconds"] for entry in parts) / 60.0),
        repetitions=repetitions,
        level=LEVEL,
        error=math.sqrt(LEVEL * (1.0 - LEVEL) / repetitions),
        passes=Cell.passes,
        about="\n".join(sorted({entry["about"]["text"] for entry in parts})),
        main=main_table(cells["linear"] + cells["logistic"]),
        larger=main_table(cells["larger"]),
        fewest=MIN_ROWS_PER_COEFFICIENT,
        smaller=main_table(cells["smaller"]),
        workers=WORKERS,
        n_rates=len(RATES),
        others=others_table(every),
        early_rows=EARLY_ROWS,
        shift=MAX_SHIFT,
        early=early_table(stored[EARLY]["rows"] if EARLY in stored else []),
    )
    return text + observations


def measure(part: str, quick: bool) -> dict[str, Any]:
    """Measure the cells of a part, or the fits that end early."""
    repetitions = QUICK_REPETITIONS if quick else REPETITIONS
    with blas_threads.one_thread():
        if part == EARLY:
            rows = [
                row
                for model in DESIGNS
                for row in measure_early(model, repetitions, EARLY_ROWS, EARLY_PASSES[:1] if quick else EARLY_PASSES)
            ]
            return {"repetitions": repetitions, "rows": rows}
        cells = [replace(cell, n=min(cell.n, 1000)) for cell in CELLS[part][:5]] if quick else CELLS[part]
        others = [cell.n != 10_000 and (cell.d == ALL_METHODS or cell.n == 50_000) for cell in cells]
        others = [each and part != "smaller" for each in others]
        found = [measure_cell(cell, repetitions, each) for cell, each in zip(cells, others, strict=True)]
        return {"repetitions": repetitions, "cells": found}


def plain(value: Any) -> Any:
    """Return numbers rounded for the readings; NaN becomes None."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if math.isfinite(value) else None
    return value


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, PARTS, "PART", "20 repetitions, at most 1,000 rows")
    given = STUDY.parse(parser, arguments)
    stored = STUDY.measure(given, lambda part, _: plain(measure(part, given.quick)))
    STUDY.write(given, stored, page)


if __name__ == "__main__":
    main()
