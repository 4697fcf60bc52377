"""Test loss by size of the shuffle buffer, on rows as stored and on rows sorted by target.

Usage: python studies/shuffling.py DATA_FOLDER [--only covtype ...] [--page-only]
       python studies/shuffling.py --quick --stored FILE.json --out FILE.md

The readings are in studies/readings/shuffling.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from stored_study import Stored, StoredStudy

from benchmarks.markdown import table
from benchmarks.time_to_goal import tasks
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.sources.array_source import ArraySource
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.engines.serial import Serial
from parsgd.models.linear.linear_model import Linear
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

STUDY = StoredStudy("shuffling", one_core=True)
# Rows of a row group, rate, and penalty; 64 to 78 row groups each.
SETS = {"covtype": (4096, 0.01, 1e-4), "adult": (512, 0.02, 1e-4), "enron_spam": (384, 0.5, 1e-6)}
QUICK_GROUP_ROWS = 100
# Row groups of a buffer; None is one buffer for all.
BUFFERS = (1, 2, 4, 8, 16, 32, None)
AS_STORED, BY_TARGET = "as stored", "by target"
# Passes and workers.
FITS = ((1, 1), (5, 1), (1, 2), (5, 2))
SEEDS = tuple(range(1, 11))
PAGE = """# Shuffle buffers

<!-- figures: python studies/shuffling.py DATA_FOLDER -->

This page compares shuffle buffers of different size with a full shuffle. `python studies/shuffling.py DATA_FOLDER`
writes this page from the readings in `studies/readings/shuffling.json`, in about {minutes} minutes of one core.

- **Buffers**: rows are read in row groups, in a new random order in every pass. They are shuffled within buffers of a
  number of row groups. "all" is one buffer. Row groups: {groups}.
- **Figures**: the test log loss of logistic regression, divided by that of a full shuffle in memory with the same seed
  and number of workers; 1 equals a full shuffle. They are means of {n_seeds} seeds, with the worst seed in brackets.
  `full` is the mean loss of the full shuffle.
- **Settings**: a constant rate for all rows of a data set, chosen by hand. Rates: {rates}.
  `alpha`: {alphas}.
- **Two workers** average ten times per pass. Each has half of the row groups, assigned at random.

{about}

## Rows as stored

{as_stored}
## Rows sorted by target

{by_target}"""


@dataclass
class Group(BasePiece):
    """A row group, in memory."""

    name: str
    x: Any
    y: np.ndarray

    @property
    def n_rows(self) -> int:
        return len(self.y)

    def chunks(self):
        yield Chunk(self.x, self.y, None)


def pose(y, weight):
    return y, np.zeros(0, dtype=y.dtype)


def streamed(X, y, group_rows: int, buffer: int | None) -> StreamingSource:
    """The rows in row groups, with a buffer of some of them."""
    spans = [slice(at, at + group_rows) for at in range(0, len(y), group_rows)]
    groups = tuple(Group(f"row group {number}", X[span], y[span]) for number, span in enumerate(spans))
    rows = len(y) if buffer is None else buffer * group_rows
    return StreamingSource(groups, X.shape[1], "float32", sparse.issparse(X), pose, shuffle_buffer_rows=rows)


def test_loss(source, data, rate: float, alpha: float, passes: int, workers: int, seed: int) -> float:
    """The mean test loss of a fit."""
    X, X_test, _, y_test = data
    model = Linear(
        X.shape[1],
        loss="log_loss",
        dtype="float32",
        alpha=alpha,
        schedule="constant",
        eta0=rate,
        sparse=sparse.issparse(X),
    )
    # the bits are those of threads
    found = fit(model, LocalSGD(), Serial(), source, n_workers=workers, max_epochs=passes, seed=seed)
    margins = np.where(y_test > 0, 1.0, -1.0) * model.decision(found.state, X_test).ravel().astype(float)
    return float(np.logaddexp(0.0, -margins).mean())


def measure(name: str, task: Any, group_rows: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """The test losses of each order of rows, number of passes and of workers: of full shuffles, and of each buffer."""
    _, rate, alpha = SETS[name]
    X, y, rows = task.X, task.y, []
    for order in (AS_STORED, BY_TARGET):
        at = np.arange(len(y)) if order == AS_STORED else np.argsort(y, kind="stable")
        X_train, labels = X[at], np.where(y[at] > 0, 1, -1).astype(np.float32)
        data = (X_train, task.X_test, labels, task.y_test)
        sources = [
            ArraySource(rows_of(X_train, labels)),
            *(streamed(X_train, labels, group_rows, buffer) for buffer in BUFFERS),
        ]
        for passes, workers in FITS:
            full, *losses = [
                [test_loss(source, data, rate, alpha, passes, workers, seed) for seed in seeds] for source in sources
            ]
            rows.append({"order": order, "passes": passes, "workers": workers, "full": full, "losses": losses})
            print(f"  {order}, {passes} passes, {workers} workers: {cells(rows[-1])}", flush=True)
    return {"name": name, "n_rows": len(y), "n_columns": X.shape[1], "group_rows": group_rows, "rows": rows}


def cells(row: dict[str, Any]) -> list[str]:
    """The mean loss of full shuffles, and for each buffer the mean and the largest ratio to them."""
    ratios = np.array(row["losses"]) / np.array(row["full"])
    return [f"{np.mean(row['full']):.4f}", *(f"{each.mean():.3f} ({each.max():.3f})" for each in ratios)]


def table_of(found: list[dict], order: str) -> str:
    """A line for each data set, number of passes and of workers, and a column for each buffer."""
    rows = [
        [each["name"], str(row["passes"]), str(row["workers"]), *cells(row)]
        for each in found
        for row in each["rows"]
        if row["order"] == order
    ]
    sizes = ["all" if size is None else str(size) for size in BUFFERS]
    return table(["data", "passes", "workers", "full", *sizes], rows)


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in SETS if name in stored]
    text = PAGE.format(
        minutes=math.ceil(sum(each["about"]["seconds"] for each in found) / 60.0),
        groups=", ".join(f"{each['group_rows']:,} rows of {each['name']}" for each in found),
        n_seeds=len(found[0]["rows"][0]["full"]),
        rates=", ".join(f"{SETS[each['name']][1]:g} on {each['name']}" for each in found),
        alphas=", ".join(f"{SETS[each['name']][2]:g} on {each['name']}" for each in found),
        about="\n".join(sorted({each["about"]["text"] for each in found})),
        as_stored=table_of(found, AS_STORED),
        by_target=table_of(found, BY_TARGET),
    )
    return text + observations


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, SETS, "DATASET", "2,000 generated rows, one seed")
    given = STUDY.parse(parser, arguments)

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        group_rows, seeds = (QUICK_GROUP_ROWS, SEEDS[:1]) if given.quick else (SETS[name][0], SEEDS)
        return measure(name, tasks.load(name, given.folder), group_rows, seeds)

    STUDY.write(given, STUDY.measure(given, measure_set), page)


if __name__ == "__main__":
    main()
