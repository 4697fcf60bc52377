"""A folder of Parquet files: 30 float32 columns of 256 levels each, normal over all, and a target of two classes.

The target is the sign of a linear rule with noise, right nine times in ten at best.  A file has a million rows in eight
row groups; levels make the columns compressible, as those of real tables are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import norm

N_COLUMNS, ROWS_A_FILE, GROUPS_A_FILE, TARGET = 30, 1_000_000, 8, "y"
NAMES = [f"x{k}" for k in range(N_COLUMNS)]


def some_rows(n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns `(n_columns, n_rows)`, float32, and targets `(n_rows,)`, int32."""
    levels = norm.ppf((np.arange(256) + 0.5) / 256).astype(np.float32)
    weights = np.random.default_rng(0).standard_normal(N_COLUMNS).astype(np.float32)
    rng = np.random.default_rng((1, seed))
    columns = levels[rng.integers(0, 256, (N_COLUMNS, n_rows), dtype=np.uint8)]
    scores = weights @ columns
    # noise of a third of the scores' deviation turns a tenth of the signs round
    noise = rng.standard_normal(n_rows, dtype=np.float32) * np.float32(np.linalg.norm(weights) / 3)
    return columns, (scores + noise > 0).astype(np.int32)


def write_folder(folder: Path, n_rows: int) -> Path:
    """Write `folder/train` and `folder/test.parquet`, unless they are there; give `folder`."""
    train, test = folder / "train", folder / "test.parquet"
    if test.exists():
        return folder
    train.mkdir(parents=True, exist_ok=True)
    rows_a_file = min(ROWS_A_FILE, max(1, n_rows // 4))
    for number, first in enumerate(range(0, n_rows, rows_a_file)):
        _write(train / f"part-{number:03}.parquet", *some_rows(min(rows_a_file, n_rows - first), number + 1))
    # last, so that a folder with a test file is whole
    _write(test, *some_rows(min(100_000, rows_a_file), 0))
    return folder


def _write(path: Path, columns: np.ndarray, y: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({**dict(zip(NAMES, columns, strict=True)), TARGET: y})
    pq.write_table(table, path, row_group_size=-(-len(y) // GROUPS_A_FILE))


def read_test(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The rows to test on, float32 `(n_rows, n_columns)`, and their classes."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "test.parquet")
    return np.stack([table[name].to_numpy() for name in NAMES], axis=1), table[TARGET].to_numpy()
