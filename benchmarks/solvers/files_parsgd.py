"""One pass of parsgd's `SGDClassifier` over a folder of Parquet files: `open_dataset`, and `fit`.

    python -m benchmarks.solvers.files_parsgd FOLDER [--workers 2]

prints seconds, rows, peak memory and test accuracy as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.apart import peak_bytes
from benchmarks.measuring import timed
from benchmarks.problems.parquet_folder import NAMES, TARGET, read_test
from parsgd import SGDClassifier, open_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    model = SGDClassifier("log_loss", max_iter=1, tol=None, n_jobs=given.workers, algorithm="local", random_state=0)
    # what is loaded at first use does not count
    SGDClassifier("log_loss", max_iter=1, tol=None).fit(np.eye(2, len(NAMES), dtype=np.float32), [0, 1])
    opened = []

    def work() -> None:
        opened.append(open_dataset(given.folder / "train", target=TARGET))
        model.fit(opened[0])

    seconds = timed(work)
    peak = peak_bytes()
    accuracy = model.score(*read_test(given.folder))
    print(json.dumps({"seconds": seconds, "rows": opened[0].n_rows, "peak_bytes": peak, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
