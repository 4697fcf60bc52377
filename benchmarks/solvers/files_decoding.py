"""One pass over a folder of Parquet files that only decodes the columns, with pyarrow and all its threads.

    python -m benchmarks.solvers.files_decoding FOLDER

prints seconds, rows and peak memory as JSON: the limit of a fit that reads the files once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.apart import peak_bytes
from benchmarks.measuring import timed


def main() -> None:
    import pyarrow.dataset

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    counts: list[int] = []

    def work() -> None:
        batches = pyarrow.dataset.dataset(given.folder / "train", format="parquet").to_batches()
        counts.append(sum(batch.num_rows for batch in batches))

    seconds = timed(work)
    print(json.dumps({"seconds": seconds, "rows": counts[0], "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
