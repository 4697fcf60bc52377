"""Seconds, memory and excess loss of fits on 1e5 to 1e8 rows, from arrays and from files, and their exponents.

Usage: python studies/scale.py [DATA_FOLDER] [--only arrays-1 ...] [--page-only] [--scratch FOLDER]
       python studies/scale.py --quick --stored FILE.json --out FILE.md

The readings are in studies/readings/scale.json; the page and its picture are written from all that are stored there.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
import scale_runs
from scale_runs import CHUNK, COVTYPE_ALPHA, LARGE, LOGISTIC, MANY, MANY_ROWS, N_COLUMNS, SQUARES, TURNS
from stored_study import Stored, StoredStudy

from benchmarks import drawing, machine
from benchmarks.apart import run_module
from benchmarks.markdown import NOTHING, number, table

SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000)
QUICK_CHUNK = 1_000
# Arrays that are larger than this are left out, and files that would leave less of the disk free.
MOST_BYTES, FREE_BYTES = 6e9, 10e9
# By series: title, way and loss of studies/scale_runs.py, n_jobs, and color and style in the picture.
SERIES = {
    "arrays-1": ("arrays, logistic regression, 1 worker", "arrays", LOGISTIC, 1, ("#9fa8da", "o--")),
    "arrays-2": ("arrays, logistic regression, n_jobs=2", "arrays", LOGISTIC, 2, (drawing.OURS, "o-")),
    "squares-2": ("arrays, least squares, n_jobs=2", "arrays", SQUARES, 2, ("#388e3c", "s-")),
    "files-2": ("files, logistic regression, n_jobs=2", "files", LOGISTIC, 2, ("#ef6c00", "^-")),
    "covtype-2": ("files, copies of covtype, n_jobs=2", "covtype", LOGISTIC, 2, ("#d32f2f", "v-")),
}
STUDY = StoredStudy("scale", libraries=("parsgd", "numpy", "numba", "pyarrow"))
PAGE = """# Results: number of rows

<!-- figures: python studies/scale.py DATA_FOLDER -->

This page measures seconds, memory and excess loss of fits on 100,000 to 100 million rows. `python studies/scale.py
DATA_FOLDER` writes it from the readings in `studies/readings/scale.json`, in about 15 minutes of two idle cores.

- **Synthetic rows** have {n_columns} normal columns in float32. The classes have the probabilities of logistic
  regression with fixed weights, so these weights have the least expected loss. The targets of least squares are a
  linear function plus normal noise. The excess loss is the expected loss of a model above this minimum. It is an
  integral over the distribution of the rows, exact but for rounding errors; no test rows are drawn. `of the exact
  fit`: its ratio to the expected excess of the exact minimizer of the training loss, which is `11 / (2 n)` for
  logistic regression on n rows, and `11 / n` for the squared error.
- **Files** have the same rows as the arrays: uncompressed Parquet files of {chunk:,} rows in the cache of the system.
- **Copies of covtype** are real rows, replicated: {chunk:,} standardized training rows of 54 columns (class 2 or not)
  in one Parquet file, and links to this file. The copies have no new information: a larger size is more passes over
  the same rows. Their excess is the training objective above its minimum by Newton's method, with `alpha={alpha:g}`.
- **Fits** make one pass with `"invscaling"`, `power_t=0.5` and `average=True`. Rates are the same for all sizes. A fit
  from files is timed from opening them, and includes a scan for the classes. There are {turns} fits of up to
  {many:,} rows, each with another seed, and one of more rows. Figures are medians.
- **Seconds of a pass** from arrays are without the checks of the rows: below {large:,} rows those of one more pass,
  else the mean of {passes} passes in a fit. `fit` is the whole call with one pass. From files every pass reads the
  files, and both figures are those of the whole call.
- **Memory** is the peak of the process, minus the memory it had before the rows. Each size has a process of its own,
  which has imported everything and fitted a few rows before. Bytes per row are beyond the arrays themselves.

{about}
"""
SUMMARY = """## Exponents

An exponent is the slope of a line through the logarithms of the rows and of a figure; 1 is proportional to the rows.
The first column has all sizes, the others those from {large:,} rows on. Smaller arrays fit in the processor's caches.

{exponents}
![Seconds, memory and excess loss by number of rows](scale.svg)
"""
SECTION = """## {title}

{table}"""
HEADER = [
    "rows",
    "workers",
    "pass, s",
    "million rows/s",
    "fit, s",
    "memory, MB",
    "bytes per row beyond arrays",
    "excess loss",
    "of the exact fit",
]


def exponent(rows: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a line through the logarithms; NaN for fewer than two sizes or values that are not positive."""
    if len(rows) < 2 or min(values) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(rows), np.log(values), 1)[0])


def middle(reading: dict, what: str) -> float:
    """The median of a figure over the turns."""
    return float(np.median(reading[what]))


def exponents(readings: list[dict]) -> list[str]:
    """Those of the seconds for all sizes and for large ones; of whole fits, memory and excess for large ones."""
    large = [reading for reading in readings if reading["rows"] >= LARGE] or readings
    found = []
    for what, some in (
        ("pass_s", readings),
        ("pass_s", large),
        ("fit_s", large),
        ("growth_bytes", large),
        ("excess", large),
    ):
        value = exponent([each["rows"] for each in some], [middle(each, what) for each in some])
        found.append(f"{value:.2f}" if np.isfinite(value) else NOTHING)
    return found


def table_of(readings: list[dict], way: str, loss: str) -> str:
    """A line for each number of rows."""
    rows = []
    for reading in readings:
        n_rows, pass_s = reading["rows"], middle(reading, "pass_s")
        beyond = (reading["growth_bytes"] - reading["data_bytes"]) / n_rows
        shown = [number(pass_s), number(n_rows / pass_s / 1e6), number(middle(reading, "fit_s"))]
        shown += [number(reading["growth_bytes"] / 1e6), number(beyond), number(middle(reading, "excess"))]
        ratio = middle(reading, "excess") / scale_runs.exact_excess(way, loss, n_rows)
        shown.append(number(ratio) if np.isfinite(ratio) else NOTHING)
        rows.append([f"{n_rows:,}", str(reading["n_workers"]), *shown])
    return table(HEADER, rows, words=())


def draw(stored: dict[str, dict], path: Path) -> None:
    """Seconds of a pass, memory and excess loss against the rows, on logarithmic axes."""
    drawn, axes = drawing.figure(12.0, 4.4, 1, 3)
    panels = {
        "seconds of a pass": "pass_s",
        "memory of the rows and the fit, MB": "growth_bytes",
        "excess loss": "excess",
    }
    for axis, (label, what) in zip(axes, panels.items(), strict=True):
        for name, (title, *_, (color, style)) in SERIES.items():
            readings = stored.get(name, {}).get("readings", [])
            scale = 1e-6 if what == "growth_bytes" else 1.0
            values = [scale * middle(reading, what) for reading in readings]
            axis.loglog([reading["rows"] for reading in readings], values, style, color=color, ms=3.5, label=title)
        axis.set_title(label, loc="left", fontsize=10)
        axis.set_xlabel("rows")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    drawing.save(drawn, path)


def page(stored: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = {name: stored[name] for name in SERIES if name in stored}
    text = PAGE.format(
        n_columns=N_COLUMNS,
        chunk=CHUNK,
        alpha=COVTYPE_ALPHA,
        turns=TURNS,
        many=MANY_ROWS,
        large=LARGE,
        passes=MANY,
        about="\n".join(dict.fromkeys(entry["about"]["text"] for entry in found.values())),
    )
    if not found:
        return text
    header = ["series", "pass, all sizes", "pass", "fit", "memory", "excess loss"]
    rows = [[SERIES[name][0], *exponents(entry["readings"])] for name, entry in found.items()]
    parts = [SUMMARY.format(large=LARGE, exponents=table(header, rows))]
    for name, entry in found.items():
        notes = "".join(f"\n{note}\n" for note in entry["notes"])
        title, way, loss, *_ = SERIES[name]
        parts.append(
            SECTION.format(title=title[0].upper() + title[1:], table=table_of(entry["readings"], way, loss)) + notes
        )
    return "\n".join([text, *parts]) + reading


# -- measuring -------------------------------------------------------------------------------------------------------


def measure(
    name: str, sizes: Sequence[int], chunk: int, scratch: Path, data: Path | None
) -> tuple[list[dict], list[str]]:
    """The readings of a series, a process for each size; and notes on sizes that are left out."""
    _, way, loss, workers, _ = SERIES[name]
    quick, found, notes = chunk != CHUNK, [], []
    folder = scratch / way
    for n_rows in sizes:
        why = too_large(way, n_rows, scratch)
        if why:
            notes.append(f"{n_rows:,} rows are left out: {why}.")
            continue
        prepare(way, folder, n_rows, chunk, data)
        arguments = [way, str(n_rows), "--loss", loss, "--workers", str(workers), "--chunk", str(chunk)]
        arguments += ["--folder", str(folder)] + ["--quick"] * quick
        found.append({"rows": n_rows, **run_module("studies.scale_runs", *arguments)})
        print(f"  {n_rows:,} rows: {middle(found[-1], 'pass_s'):.3g} s per pass", flush=True)
    return found, notes


def too_large(way: str, n_rows: int, scratch: Path) -> str:
    """The reason to leave a size out, or nothing."""
    n_bytes = 4.0 * N_COLUMNS * n_rows
    if way == "arrays" and n_bytes > min(MOST_BYTES, machine.memory_bytes() / 2):
        return "the arrays are too large for the memory"
    if way == "files" and n_bytes + FREE_BYTES > scale_runs.free_bytes(scratch):
        return "the files are too large for the disk"
    return ""


def prepare(way: str, folder: Path, n_rows: int, chunk: int, data: Path | None) -> None:
    """Write the files of a size, in addition to those of smaller ones."""
    if way == "files":
        scale_runs.write_rows(folder, n_rows, chunk)
    elif way == "covtype":
        first = folder / "part-00000.parquet"
        if not first.exists():
            folder.mkdir(parents=True, exist_ok=True)
            X, y = generated(chunk) if data is None else [part[:chunk] for part in datasets.covtype(data)[::2]]
            y = y.astype(np.int8)
            np.savez(folder / "rows.npz", X=X, y=y, least=scale_runs.least_objective(X, y))
            scale_runs.write_part(first, X, y, plain=False)
        scale_runs.replicate(first, n_rows // chunk)


def generated(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in place of those of covtype, for quick runs."""
    return scale_runs.rows_in_memory(n_rows, LOGISTIC, n_rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure the series, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, SERIES, "SERIES", "a few thousand rows")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files of 5 GB (default: that of the system)")
    given = STUDY.parse(parser, arguments)
    chunk = QUICK_CHUNK if given.quick else CHUNK
    sizes = (chunk, 2 * chunk, 4 * chunk) if given.quick else SIZES
    with tempfile.TemporaryDirectory(prefix="parsgd-scale-", dir=given.scratch) as scratch:

        def measure_series(name: str, _: Stored) -> dict[str, Any]:
            print(SERIES[name][0], flush=True)
            readings, notes = measure(name, sizes, chunk, Path(scratch), given.folder)
            return {"readings": readings, "notes": notes}

        stored = STUDY.measure(given, measure_series)
    STUDY.write(given, stored, page)
    if stored:
        draw(stored, given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
