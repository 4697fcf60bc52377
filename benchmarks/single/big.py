"""Train one pass on Parquet files that need not fit in memory: rows a second, against reading alone, and peak memory.

Usage: python benchmarks/single/big.py FOLDER [--workers 2] [--turns 3]     (make_big.py beside it writes FOLDER)

Each turn runs every way in a process of its own, one after the other, so that a noisy neighbour hits all of them.
Reading alone is pyarrow, with as many threads as there are workers, each reading row groups and making a float32 matrix
of them, in three ways; training is compared with the fastest one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsgd.data.columns.column_kinds import Numeric
from parsgd.data.columns.encoder import Encoder
from parsgd.data.contracts import Reading
from parsgd.data.formats.parquet import open_parquet
from parsgd.training.loop import fit

TARGET = "Cover_Type"


def by_cast(batch, names) -> np.ndarray:
    """Arrow's own way: cast each column, then one row-major tensor."""
    columns = [pc.cast(batch.column(name), pa.float32()) for name in names]
    return pa.record_batch(columns, names=names).to_tensor(row_major=True).to_numpy()


def by_tensor(batch, names) -> np.ndarray:
    """The tensor in the type that Arrow finds for all, and then a cast."""
    return batch.select(names).to_tensor(row_major=True).to_numpy().astype(np.float32)


def by_stack(batch, names) -> np.ndarray:
    """NumPy's way."""
    return np.stack([batch.column(name).to_numpy() for name in names], axis=1).astype(np.float32)


READERS = {"cast": by_cast, "tensor": by_tensor, "stack": by_stack}


def read_alone(folder: Path, workers: int, convert) -> int:
    """Every row group, read and made a matrix; the number of rows."""
    names = [name for name in pq.read_schema(next(folder.glob("*.parquet"))).names if name != TARGET]

    def one(path: Path) -> int:
        rows = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[*names, TARGET], use_threads=False):
                rows += len(convert(batch, names))
                batch.column(TARGET).to_numpy()
        return rows

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(one, sorted(folder.glob("*.parquet"))))


def standardised(folder: Path) -> Encoder:
    """Encode numbers in standard deviations, of the first row group; columns of 0 and 1 unchanged."""
    first = pq.ParquetFile(min(folder.glob("*.parquet"))).read_row_group(0)
    names = tuple(name for name in first.schema.names if name != TARGET)
    x = np.stack([first[name].to_numpy() for name in names], axis=1).astype(float)
    binary = (x.max(axis=0) <= 1) | (x.std(axis=0) == 0)
    center, divisor = np.where(binary, 0.0, x.mean(axis=0)), np.where(binary, 1.0, x.std(axis=0))
    return Encoder((Numeric(names, scale="standard", center=tuple(center), divisor=tuple(divisor)),))


def pose(y, weight):
    return np.where(y == 2, np.float32(1), np.float32(-1)), np.zeros(0, dtype=np.float32)


def source_of(folder: Path, encoder) -> object:
    from parsgd.data.sources.streaming_source import StreamingSource

    pieces = open_parquet(folder).pieces(Reading(encoder, TARGET))
    return StreamingSource(tuple(pieces), encoder.n_features, encoder.dtype, encoder.sparse, pose)


def train(source, workers: int) -> tuple[int, float]:
    """One pass of logistic regression by threads; rows, and the mean loss of the last round."""
    from parsgd.algorithms.local_sgd import LocalSGD
    from parsgd.engines.threads import Threads
    from parsgd.models.linear.linear_model import Linear

    model = Linear(source.n_features, loss="log_loss", dtype="float32", schedule="constant", eta0=0.01)
    found = fit(model, LocalSGD(), Threads(), source, n_workers=workers)
    return found.examples, found.history[-1]["loss"]


def estimate(data, workers: int) -> tuple[int, float]:
    """The same by way of an estimator, as users do it: the type of the trees as a number to be predicted."""
    from parsgd import SGDRegressor

    model = SGDRegressor(
        max_iter=1,
        tol=None,
        n_jobs=workers,
        engine="threads",
        algorithm="local",
        learning_rate="constant",
        eta0=1e-4,
        random_state=0,
    ).fit(data)
    return data.n_rows, model.history_[-1]["loss"]


def opened(folder: Path):
    from parsgd import columns, open_dataset

    names = [name for name in pq.read_schema(min(folder.glob("*.parquet"))).names if name != TARGET]
    kinds = [columns.Numeric(names[:10], scale="standard"), columns.Numeric(names[10:])]
    return open_dataset(folder, target=TARGET, columns=kinds)


def stream(source, workers: int) -> int:
    """What the windows cost: all of it but the training."""
    shards = source.split(workers, 1)

    def one(shard) -> int:
        rows = sum(len(block.order) for block in shard.blocks(1, 0))
        shard.close()
        return rows

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(one, shards))


def measured(way: str, folder: Path, workers: int) -> dict:
    """Rows a second and peak memory of this process."""
    loss = None
    if way == "estimator":
        source = opened(folder)
        estimate(replace(source, pieces=source.pieces[:1]), workers)
    if way in ("train", "stream"):
        # opening, imports, and kernels that are compiled or read from the cache, are paid once and not by the row
        source = source_of(folder, standardised(folder))
        train(replace(source, pieces=source.pieces[:1]), 1)
    began, worked = time.perf_counter(), time.process_time()
    if way == "train":
        rows, loss = train(source, workers)
    elif way == "estimator":
        rows, loss = estimate(source, workers)
    elif way == "stream":
        rows = stream(source, workers)
    else:
        rows = read_alone(folder, workers, READERS[way])
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"rows_per_s": rows / seconds, "cpu_ns": 1e9 * cpu / rows, "peak_mb": peak, "loss": loss, "rows": rows}


def apart(way: str, folder: Path, workers: int) -> dict:
    """The same in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--workers", str(workers), "--way", way]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(given.way, given.folder, given.workers)))
        return
    run = partial(apart, folder=given.folder, workers=given.workers)
    ways = [*READERS, "stream", "train", "estimator"]
    found = {way: [] for way in ways}
    for _ in range(given.turns):
        for way in ways:
            found[way].append(run(way))
    middle = {way: float(np.median([one["rows_per_s"] for one in found[way]])) for way in ways}
    fastest = max(READERS, key=middle.get)
    rows = found["train"][0]["rows"]
    print(f"{rows:,} rows, {given.workers} workers, {given.turns} turns; rows/s are medians")
    for way in ways:
        # against the fastest reader of the same turn
        best = [max(found[reader][turn]["rows_per_s"] for reader in READERS) for turn in range(given.turns)]
        ratio = np.median([one["rows_per_s"] / base for one, base in zip(found[way], best, strict=True)])
        peak = max(one["peak_mb"] for one in found[way])
        cpu = min(one["cpu_ns"] for one in found[way])
        print(
            f"  {way:9} {middle[way]:12,.0f} rows/s  {ratio:5.2f} of the fastest reading  {cpu:4.0f} ns of processors"
            f" a row  peak {peak:4.0f} MB"
        )
    print(f"fastest reading: {fastest}; loss of the last round {found['train'][-1]['loss']:.4f}")


if __name__ == "__main__":
    main()
