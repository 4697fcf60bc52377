"""A folder of Parquet files to a fitted model: one pass over 20 million rows of 30 columns, logistic regression.

parsgd opens the folder and fits, with two workers; scikit-learn is given pyarrow's batches in a loop of `partial_fit`,
in the way and with the size of batches that was fastest on a tenth of the files; both in float32.  The limit is what
pyarrow takes to decode the files with all its threads, without a fit.  Each run is a process of its own; the files are
in the system's cache.  Peak memory is the whole process's, libraries included.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import drawing
from benchmarks.apart import run_module
from benchmarks.markdown import number, readings_table, table
from benchmarks.measuring import ratio, run_turns
from benchmarks.options import Options
from benchmarks.problems.parquet_folder import write_folder
from benchmarks.readings import Reading, select
from benchmarks.solvers.files_sklearn import WAYS

TITLE = "From Parquet files to a fitted model"
PROBLEM, N_ROWS, TARGET = "Parquet folder, 20M x 30, one pass", 20_000_000, 4.0
BATCHES = (4_096, 16_384, 65_536, 262_144)
MOST_TURNS = 5
DECODING = "decoding alone"


def measure(options: Options) -> list[Reading]:
    options.say("writing the files")
    folder = write_folder(options.scratch / "parquet", 200_000 if options.quick else N_ROWS)
    # once before, so that all of it is in the system's cache
    n_files = len([part.read_bytes() and part for part in sorted((folder / "train").glob("*.parquet"))])
    way, batch = best_loop(folder, max(1, n_files // 10), options)
    kept: dict[str, list[dict]] = {"parsgd": [], "parsgd, 1 worker": [], "scikit-learn": [], DECODING: []}

    def run(name: str, solver: str, *arguments: str):
        def once() -> float:
            found = run_module(f"benchmarks.solvers.{solver}", str(folder), *arguments)
            kept[name].append(found)
            return found["seconds"]

        return once

    runs = {
        "parsgd": run("parsgd", "files_parsgd", "--workers", "2"),
        "parsgd, 1 worker": run("parsgd, 1 worker", "files_parsgd", "--workers", "1"),
        "scikit-learn": run("scikit-learn", "files_sklearn", "--way", way, "--batch", str(batch)),
        DECODING: run(DECODING, "files_decoding"),
    }
    spent = run_turns(runs, min(options.n_turns, MOST_TURNS), warm_up=lambda name: None)
    return readings(spent, kept, f"pyarrow's {way}s of {batch:,} rows and partial_fit")


def best_loop(folder: Path, n_files: int, options: Options) -> tuple[str, int]:
    """scikit-learn's fastest way to read, and the size of its batches: by the better of two runs on a few files."""
    ways = list(product(WAYS, BATCHES[2:3] if options.quick else BATCHES))

    def seconds(way: str, batch: int) -> float:
        arguments = ("--way", way, "--batch", str(batch), "--files", str(n_files))
        return min(run_module("benchmarks.solvers.files_sklearn", str(folder), *arguments)["seconds"] for _ in range(2))

    tried = {(way, batch): seconds(way, batch) for way, batch in ways}
    for (way, batch), took in tried.items():
        options.say(f"scikit-learn, {way}, batches of {batch:,}: {took:.2f} s for {n_files} files")
    return min(tried, key=tried.__getitem__)


def readings(spent: dict[str, list[float]], kept: dict[str, list[dict]], loop: str) -> list[Reading]:
    ours, settings = spent["parsgd"], {"parsgd": "2 workers", "parsgd, 1 worker": "1 worker", "scikit-learn": loop}
    settings[DECODING] = "pyarrow, all threads"

    def speeds(name: str) -> tuple[float, ...]:
        return tuple(run["rows"] / run["seconds"] for run in kept[name])

    found = [
        Reading(
            "files",
            PROBLEM,
            "parsgd",
            settings["parsgd"],
            "rows/s",
            speeds("parsgd"),
            ratio(spent[peer], ours),
            peer,
            target,
        )
        for peer, target in (("scikit-learn", TARGET), ("parsgd, 1 worker", None), (DECODING, None))
    ]
    for name, setting in settings.items():
        solver = name.partition(",")[0]
        if name != "parsgd":
            found.append(Reading("files", PROBLEM, solver, setting, "rows/s", speeds(name)))
        if name == DECODING:
            continue
        accuracy = 100 * float(np.median([run["accuracy"] for run in kept[name]]))
        peaks = tuple(run["peak_bytes"] / 1e6 for run in kept[name])
        note = f"{number(accuracy)} % of test rows right"
        found.append(Reading("files", "peak memory", solver, setting, "MB", peaks, note=note))
    return found


def describe(readings: list[Reading]) -> str:
    memory = [[f"{r.solver}, {r.setting}", number(r.median), r.note] for r in select(readings, problem="peak memory")]
    return "\n".join(
        [
            "Logistic regression, one pass, from opening the folder to the fitted model, each run in a separate"
            " process. The data are twenty million rows of 30 float32 columns (256 levels each) and a target, in 20"
            " files of 8 row groups, in the system's cache. scikit-learn's loop uses the fastest of two ways to read"
            f" and of batches of {', '.join(f'{n:,}' for n in BATCHES)} rows, pyarrow with all its"
            " threads. Decoding alone is the limit of every reader.\n",
            readings_table(select(readings, problem=PROBLEM)),
            "Peak memory of the process, libraries included, and accuracy on 100,000 other rows, of which nine in ten"
            " can be classified correctly:\n",
            table(["solver", "MB", ""], memory),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    rows = [r for r in select(readings, problem=PROBLEM) if r.peer in ("", "scikit-learn")]
    drawn, (axis,) = drawing.figure(8.0, 0.8 + 0.5 * len(rows))
    colors = [drawing.OURS if r.solver == "parsgd" else drawing.THEIRS for r in rows]
    drawing.bars(
        axis,
        [f"{r.solver}, {r.setting}" for r in rows],
        [r.median / 1e6 for r in rows],
        [(min(r.values) / 1e6, max(r.values) / 1e6) for r in rows],
        colors,
    )
    axis.set_xlabel("million rows a second")
    return [drawing.keep(drawn, folder, "files")]
