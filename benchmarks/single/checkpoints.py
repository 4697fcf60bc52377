"""What checkpoints cost: milliseconds to describe and hash, to write to the disk and to read one, and a round's share.

Usage: python benchmarks/single/checkpoints.py [--folder DIR] [--save]

Figures are medians.  The folder should lie on the disk that checkpoints are kept on.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

import parsgd
from benchmarks import stored_tables
from benchmarks.markdown import table
from parsgd.checkpointing import file_format
from parsgd.checkpointing.store import CheckpointStore, opened
from parsgd.training.snapshot import Snapshot

TURNS = 15


def snapshot(n_parameters: int, dtype: str, n_entries: int = 100) -> Snapshot:
    """One of a fit with so many parameters, after so many rounds."""
    worker = {"worker": 0, "steps": 100, "examples": 100, "seconds": 0.1, "weight": 0.5, "loss": 0.3}
    workers = [{**worker, "trace": [(100, 0.3, None)]} for _ in range(2)]
    entry = {"round": 1, "epoch": 0.1, "seconds": 0.1, "loss": 0.5, "score": None, "workers": workers, "lost": []}
    state = np.random.default_rng(0).standard_normal(n_parameters).astype(dtype)
    return Snapshot(
        state=state,
        answer=None,
        memory=None,
        schedule_step=1.0,
        lr_scale=np.ones(1),
        round=n_entries,
        examples=100,
        epochs=1,
        epoch_examples=0,
        epoch_objective=np.zeros(1),
        cursors=(1, 1),
        shard_fractions=None,
        history=[entry] * n_entries,
        best=None,
        idle=None,
        scores=[],
        best_state=None,
        under_way=(),
        seconds=0.0,
        outcome=None,
    )


def times(folder: CheckpointStore, kept: file_format.CheckpointContent) -> tuple[int, list[float]]:
    """Bytes, and milliseconds to describe, to write, and to read."""
    packed, found = file_format.HistoryEncoder(), []
    for number in range(TURNS):
        at = [time.perf_counter()]
        parts = file_format.to_parts(kept, packed)
        at.append(time.perf_counter())
        folder.write(number, parts, 2)
        at.append(time.perf_counter())
        file_format.read(folder.file(number))
        at.append(time.perf_counter())
        found.append([1e3 * (end - begin) for begin, end in itertools.pairwise(at)])
    return sum(map(len, parts)), [statistics.median(column) for column in zip(*found, strict=True)]


def round_ms(checkpoint: parsgd.Checkpoint | None) -> float:
    """A round of 20 rows, of which the work is little."""
    X = np.random.default_rng(0).standard_normal((2000, 20))
    model = parsgd.SGDClassifier(
        algorithm=parsgd.LocalSGD(sync_every=0.01),
        n_jobs=2,
        engine="serial",
        max_iter=10,
        tol=None,
        random_state=0,
        checkpoint=checkpoint,
    )
    began = time.perf_counter()
    model.fit(X, X[:, 0] > 0)
    return 1e3 * (time.perf_counter() - began) / len(model.history_)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to write; the default is a temporary folder")
    stored_tables.add_option(parser, "checkpoints")
    given = parser.parse_args()
    base, rows = given.folder, []
    cases = [(50_000, "float64", 100), (5_000_000, "float32", 100), (5_000_000, "float64", 100)]
    for n_parameters, dtype, n_entries in [*cases, (50_000, "float64", 10_000)]:
        with tempfile.TemporaryDirectory(dir=base) as path, opened(Path(path)) as folder:
            size, ms = times(folder, file_format.CheckpointContent({}, snapshot(n_parameters, dtype, n_entries), {}))
        figures = [f"{figure:.1f}" for figure in (size / 1e6, *ms)]
        rows.append([f"{n_parameters:,}", dtype, f"{n_entries:,}", *figures])
    round_ms(None)
    turns = []
    for _ in range(5):
        with tempfile.TemporaryDirectory(dir=base) as path:
            turns.append((round_ms(None), round_ms(parsgd.Checkpoint(path, seconds=float("inf")))))
    without, with_ = (statistics.median(column) for column in zip(*turns, strict=True))
    header = ["parameters", "type", "rounds", "MB", "describe and hash, ms", "write to the disk, ms", "read again, ms"]
    note = f"A round of two workers (serial engine) takes {without:.3f} ms, and with checkpoints that are not due"
    stored_tables.show(f"{table(header, rows)}\n{note} {with_:.3f} ms.\n", given.save, __file__)


if __name__ == "__main__":
    main()
