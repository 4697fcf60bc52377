"""Five passes on a Dask cluster of two worker processes on this machine: parsgd against dask-ml's `Incremental`.

The rows, 200,000 x 54 in float32, are Dask arrays that already lie on the workers, in eight blocks.  `Incremental`
gives scikit-learn's `SGDClassifier` one block after the other, wherever it lies: one model, which travels, so its
workers take turns.  parsgd trains on both workers at once, and averages.  The cluster is there before the clock
starts.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmarks import drawing
from benchmarks.apart import FailedApart, run_module
from benchmarks.markdown import number, readings_table
from benchmarks.measuring import ratio
from benchmarks.options import Options
from benchmarks.readings import Reading

TITLE = "On a Dask cluster"
EPOCHS, N_ROWS = 5, 200_000
PROBLEM = "Dask cluster of two processes, dense 200,000 x 54, five passes"
PEER = "dask-ml"
SETTINGS = {"parsgd": "parsgd.dask, 2 workers", PEER: "Incremental(SGDClassifier), fit and partial_fit"}


def measure(options: Options) -> list[Reading]:
    for package in ("dask", "distributed", "dask_ml"):
        if find_spec(package) is None:
            return [Reading("clusters", PROBLEM, "parsgd", peer=PEER, note=f"{package} is not installed")]
    arguments = (str(options.shrink(N_ROWS)), str(EPOCHS), str(options.n_turns))
    try:
        found = run_module("benchmarks.solvers.on_dask", *arguments)
    except FailedApart as error:
        # these packages do not work with each other in every version
        last = str(error).strip().splitlines()[-1]
        return [Reading("clusters", PROBLEM, "parsgd", peer=PEER, note=f"did not run here: {last}")]
    rows = EPOCHS * found["n_rows"]
    speeds = {name: tuple(rows / seconds for seconds in found["seconds"][name]) for name in SETTINGS}
    notes = {name: f"{number(100 * found['accuracy'][name])} % of the rows right" for name in SETTINGS}
    compared = ratio(found["seconds"][PEER], found["seconds"]["parsgd"])
    return [
        Reading(
            "clusters",
            PROBLEM,
            "parsgd",
            SETTINGS["parsgd"],
            "rows/s",
            speeds["parsgd"],
            compared,
            PEER,
            note=notes["parsgd"],
        ),
        Reading("clusters", PROBLEM, PEER, SETTINGS[PEER], "rows/s", speeds[PEER], note=notes[PEER]),
    ]


def describe(readings: list[Reading]) -> str:
    return "\n".join(
        [
            "Logistic regression on Dask arrays of eight blocks, held by two worker processes of this machine."
            " dask-ml's `Incremental` trains one model block by block; parsgd trains on both workers at once.\n",
            readings_table(readings),
            *(f"- {r.solver}: {r.note}\n" for r in readings if r.note),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    rows = [r for r in readings if r.values]
    if not rows:
        return []
    drawn, (axis,) = drawing.figure(8.0, 0.8 + 0.5 * len(rows))
    colors = [drawing.OURS if r.solver == "parsgd" else drawing.THEIRS for r in rows]
    spreads = [(min(r.values) / 1e6, max(r.values) / 1e6) for r in rows]
    drawing.bars(axis, [r.solver for r in rows], [r.median / 1e6 for r in rows], spreads, colors)
    axis.set_xlabel("million rows a second")
    return [drawing.keep(drawn, folder, "clusters")]
