"""How good a shuffle are windows?  Test loss by size of the window, on rows as stored and on rows sorted by target.

Usage: python studies/shuffling.py [DATA_FOLDER] [--seeds 3] [--out docs/results/shuffling.md]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from scipy import sparse

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.sources.array_source import ArraySource
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.engines.threads import Threads
from parsgd.models.linear.linear_model import Linear
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

# Rows of a row group, and the rate; 64 to 78 row groups each.
PROBLEMS = {"covtype": (4096, 0.01), "adult": (512, 0.02), "enron_spam": (384, 0.5)}
WINDOWS = (1, 2, 4, 8, 16, 32, None)
HEADER = """# Shuffle buffers

<!-- figures: python studies/shuffling.py DATA_FOLDER -->

This page compares buffers of different size with a full shuffle. `studies/shuffling.py` writes it. Rows are read in row
groups ({groups}), in a new random order in every pass. They are shuffled within buffers of a number of row groups. The
figures are the test log loss of logistic regression at a constant rate, `alpha=1e-4` (enron_spam 1e-6), divided by that
of a full shuffle in memory. They are means of {seeds} seeds, with the worst seed in brackets; 1.00 equals a full
shuffle. "all" is one buffer. Two workers average ten times per pass, and each has half of the row groups, assigned at
random.

"""


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


def blocks(X, y, group_rows: int, window: int | None) -> StreamingSource:
    spans = [slice(at, at + group_rows) for at in range(0, len(y), group_rows)]
    groups = tuple(Group(f"row group {number}", X[span], y[span]) for number, span in enumerate(spans))
    rows = len(y) if window is None else window * group_rows
    return StreamingSource(groups, X.shape[1], "float32", sparse.issparse(X), pose, shuffle_buffer_rows=rows)


def test_loss(source, data, rate: float, alpha: float, passes: int, workers: int, seed: int) -> float:
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
    found = fit(model, LocalSGD(), Threads(), source, n_workers=workers, max_epochs=passes, seed=seed)
    margins = np.where(y_test > 0, 1.0, -1.0) * model.decision(found.state, X_test).ravel().astype(float)
    return float(np.logaddexp(0.0, -margins).mean())


def rows_of_table(name: str, folder: Path, seeds: int):
    """Lines of the table, one for each order of rows, number of passes and of workers."""
    X, X_test, y, y_test = getattr(datasets, name)(folder)
    group_rows, rate = PROBLEMS[name]
    alpha = 1e-6 if name == "enron_spam" else 1e-4
    for order in ("as stored", "by target"):
        rows = np.arange(len(y)) if order == "as stored" else np.argsort(y, kind="stable")
        X_train, labels = X[rows], np.where(y[rows] > 0, 1, -1).astype(np.float32)
        data = (X_train, X_test, labels, y_test)
        for passes, workers in ((1, 1), (5, 1), (1, 2), (5, 2)):
            settings = (data, rate, alpha, passes, workers)
            full = [test_loss(ArraySource(rows_of(X_train, labels)), *settings, seed + 1) for seed in range(seeds)]
            cells = []
            for window in WINDOWS:
                source = blocks(X_train, labels, group_rows, window)
                ratios = [test_loss(source, *settings, seed + 1) / full[seed] for seed in range(seeds)]
                cells.append(f"{np.mean(ratios):.3f} ({max(ratios):.3f})")
            yield f"| {name} | {order} | {passes} | {workers} | {np.mean(full):.4f} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="data", type=Path)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    windows = " | ".join("all" if window is None else f"{window}" for window in WINDOWS)
    lines = [f"| data | order | passes | workers | full | {windows} |", "|" + "---|" * (len(WINDOWS) + 5)]
    for name in PROBLEMS:
        for line in rows_of_table(name, given.folder, given.seeds):
            lines.append(line)
            print(line, flush=True)
    if given.out:
        # what is to be read from the table is written by hand
        old = given.out.read_text() if given.out.exists() else ""
        reading = old[old.index("\n## ") :] if "\n## " in old else ""
        groups = ", ".join(f"{rows:,} rows of {name}" for name, (rows, _) in PROBLEMS.items())
        header = HEADER.format(groups=groups, seeds=given.seeds)
        given.out.write_text(header + "\n".join(lines) + "\n" + reading)


if __name__ == "__main__":
    main()
