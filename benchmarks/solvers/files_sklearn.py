"""One pass of scikit-learn's `SGDClassifier` over a folder of Parquet files: pyarrow's batches, and `partial_fit`.

    python -m benchmarks.solvers.files_sklearn FOLDER --way scan --batch 65536 [--files 2]

prints seconds, rows, peak memory and test accuracy as JSON.  pyarrow reads with all its threads, by one of two ways:
"file", one file after the other, or "scan", its dataset's scanner, which reads ahead in the background.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import SGDClassifier

from benchmarks.apart import peak_bytes
from benchmarks.measuring import timed
from benchmarks.problems.parquet_folder import NAMES, TARGET, read_test

WAYS = ("file", "scan")


def batches(files: list[Path], way: str, n_rows: int) -> Iterator:
    """Record batches of at most `n_rows`."""
    if way == "scan":
        import pyarrow.dataset

        yield from pyarrow.dataset.dataset([str(path) for path in files]).to_batches(batch_size=n_rows)
        return
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=n_rows, use_threads=True)


def train(model: SGDClassifier, files: list[Path], way: str, n_rows: int) -> int:
    """One pass; the number of rows."""
    rows, classes = 0, np.array([0, 1])
    for batch in batches(files, way, n_rows):
        X = np.stack([batch.column(name).to_numpy() for name in NAMES], axis=1)
        model.partial_fit(X, batch.column(TARGET).to_numpy(), classes=classes)
        rows += len(X)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--way", choices=WAYS, default="scan")
    parser.add_argument("--batch", type=int, default=65_536)
    parser.add_argument("--files", type=int)
    given = parser.parse_args()
    files = sorted((given.folder / "train").glob("*.parquet"))[: given.files]
    model, rows = SGDClassifier("log_loss", random_state=0), []
    # what is loaded at first use does not count
    SGDClassifier("log_loss").partial_fit(np.eye(2, len(NAMES), dtype=np.float32), [0, 1], classes=[0, 1])
    seconds = timed(lambda: rows.append(train(model, files, given.way, given.batch)))
    peak = peak_bytes()
    accuracy = model.score(*read_test(given.folder))
    print(json.dumps({"seconds": seconds, "rows": rows[0], "peak_bytes": peak, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
