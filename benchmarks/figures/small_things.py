"""Small things: what a fit of 1,000 rows by 20 columns costs, and the memory of a sparse fit beside its data."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sklearn import linear_model

from benchmarks.data import normal_rows, word_rows
from benchmarks.markdown import NOTHING, number, table
from benchmarks.measuring import run_turns, timed
from benchmarks.options import Options
from benchmarks.readings import Reading
from parsgd import SGDClassifier

TITLE = "Small fits, and memory"
FIGURE = "small_things"
SMALL, MEMORY = "1,000 x 20, defaults", "memory of a float32 CSR fit by two workers"
# fits of a turn, for one takes a millisecond
FITS = 10


def measure(options: Options) -> list[Reading]:
    return [*small_fit(options), peak_memory(options)]


def small_fit(options: Options) -> list[Reading]:
    """Milliseconds of a fit with all defaults, where nothing is to be gained, and how much more ours takes."""
    X, y = normal_rows(1_000, 20)
    X = X.astype(float)

    def run(kind) -> float:
        model = kind(random_state=0)
        return timed(lambda: [model.fit(X, y) for _ in range(FITS)]) / FITS

    kinds = {"scikit-learn SGD": linear_model.SGDClassifier, "parsgd": SGDClassifier}
    seconds = run_turns({name: partial(run, kind) for name, kind in kinds.items()}, options.n_turns)
    found = [Reading(FIGURE, SMALL, name, "", "ms", tuple(1e3 * s for s in values)) for name, values in seconds.items()]
    more = tuple(1e3 * (o - t) for o, t in zip(seconds["parsgd"], seconds["scikit-learn SGD"], strict=True))
    return [*found, Reading(FIGURE, SMALL, "parsgd", "difference", "ms more", more, peer="scikit-learn SGD")]


def peak_memory(options: Options) -> Reading:
    """What a fit allocates at most, in per cent of data and model vectors: the driver's, and one for each worker."""
    X, y = word_rows(options.shrink(200_000), 47_000, 75)
    model = SGDClassifier(loss="log_loss", n_jobs=2, algorithm="local", max_iter=2, tol=None, random_state=0)
    model.fit(X, y)
    tracemalloc.start()
    try:
        model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    data, vectors = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes, 3 * 4 * X.shape[1]
    share = 100 * ((data + peak) / (data + vectors) - 1)
    parts = {"data": data, "allocated on top": peak, "of which model vectors": vectors}
    note = ", ".join(f"{name} {n_bytes / 1e6:.1f} MB" for name, n_bytes in parts.items())
    return Reading(FIGURE, MEMORY, "parsgd", "", "% more than data and model vectors", (share,), note=note)


def describe(readings: Sequence[Reading]) -> str:
    rows = [[r.problem, r.solver, f"{number(r.median)} {r.unit}", r.note or NOTHING] for r in readings]
    return table(["", "", "measured", ""], rows, words=(0, 1, 3))


def draw(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Three figures need no picture."""
    return []
