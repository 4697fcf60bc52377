"""From the start of a process to its first fit: imports, data made inside (10,000 x 100), and the fit, defaults.

Every run is a fresh process, whose clock begins before it is started; kernels have been compiled before and are read
from their cache.  Also the imports alone: those of the estimator's class.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import drawing
from benchmarks.apart import run_code
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread, run_turns
from benchmarks.options import Options
from benchmarks.readings import Reading

TITLE = "From the start of a process to the first fit"
TARGET_S = 1.0
PROBLEM = "start to the first fit, 10,000 x 100"
IMPORTS = {
    "parsgd": "from parsgd import SGDClassifier",
    "scikit-learn": "from sklearn.linear_model import SGDClassifier",
}
FIT = """
import numpy as np
rng = np.random.default_rng(0)
X = rng.standard_normal(({n_rows}, 100))
y = (X @ rng.standard_normal(100) > 0).astype(int)
SGDClassifier(random_state=0).fit(X, y)
"""
# on this clock all processes of a machine have the same time
END = "\nimport time\nprint('{\"now\": %.9f}' % time.clock_gettime(time.CLOCK_MONOTONIC))"


def measure(options: Options) -> list[Reading]:
    fit = FIT.format(n_rows=options.shrink(10_000))
    codes = {(name, "fit"): code + fit for name, code in IMPORTS.items()}
    codes |= {(name, "import"): code for name, code in IMPORTS.items()}
    codes["Python", "nothing"] = ""
    spent = run_turns({f"{name}, {what}": seconds_of(code) for (name, what), code in codes.items()}, options.n_turns)
    found = []
    for what, problem in (("fit", PROBLEM), ("import", "start and import")):
        ours, theirs = spent[f"parsgd, {what}"], spent[f"scikit-learn, {what}"]
        more = tuple(a - b for a, b in zip(ours, theirs, strict=True))
        target = TARGET_S if what == "fit" else None
        found.append(
            Reading("startup", problem, "parsgd", "", "s more", more, peer="scikit-learn", target=target, at_most=True)
        )
        found += [Reading("startup", problem, name, "", "s", tuple(spent[f"{name}, {what}"])) for name in IMPORTS]
    return [*found, Reading("startup", "start", "Python", "", "s", tuple(spent["Python, nothing"]))]


def seconds_of(code: str) -> Callable[[], float]:
    def run() -> float:
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        return run_code(code + END)["now"] - began

    return run


def describe(readings: list[Reading]) -> str:
    rows = [
        [r.problem, r.solver, f"{number(s.median)} ({number(s.low)} to {number(s.high)})", r.unit]
        for r in readings
        for s in [Spread.of(r.values)]
    ]
    return "\n".join(
        [
            "New processes in turns; the time runs from before the start of the process to the end of the fit. Kernels"
            " are in their cache on disk.\n",
            table(["until", "by", "seconds (quartiles)", ""], rows),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    rows = [r for r in readings if r.unit == "s"]
    drawn, (axis,) = drawing.figure(8.0, 0.8 + 0.4 * len(rows))
    spreads = [(s.low, s.high) for s in (Spread.of(r.values) for r in rows)]
    colors = [drawing.OURS if r.solver == "parsgd" else drawing.THEIRS for r in rows]
    drawing.bars(axis, [f"{r.solver}, {r.problem}" for r in rows], [r.median for r in rows], spreads, colors)
    axis.set_xlabel("seconds since the start of the process")
    return [drawing.keep(drawn, folder, "startup")]
