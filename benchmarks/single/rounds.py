"""What a round costs on each engine beside the work in it: models of 50,000 and of 5 million parameters, two workers.

Usage: python benchmarks/single/rounds.py [--rounds N] [--workers K] [--engines NAME ...] [--parameters N ...]
       [--float32] [--save]

The workers send back the state that they were sent; so a round is one message each way for each worker, and the merge.
Figures are milliseconds of a round: the median, and the 90th percentile.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from benchmarks import stored_tables
from benchmarks.markdown import table
from parsgd import registry
from parsgd.algorithms.merging.merge_weights import weighted_sum
from parsgd.core import Budget, Report, Shard, Task, no_progress
from parsgd.errors import MissingDependencyError

SIZES = {"50,000 parameters": (50_000, 100), "5 million parameters": (5_000_000, 10)}
# The first rounds start what later ones use.
WARM_UP = 3


class NoRows(Shard):
    """A shard for work that reads no rows."""

    n_rows, cost = 0, 1.0

    def blocks(self, seed, epoch, start=0):
        return iter(())


def send_back(shard, task, progress) -> Report:
    """The work: to answer."""
    nothing = np.zeros(1)
    return Report(task.worker, task.round, task.state.copy(), 1, 1, nothing, nothing, 0.0, 1.0, np.ones(1))


def seconds_of_rounds(engine, size: int, dtype, n_workers: int, n_rounds: int) -> np.ndarray:
    """Seconds of each of the rounds after the first ones."""
    state, weights = np.random.default_rng(0).random(size).astype(dtype), np.full(n_workers, 1.0 / n_workers)
    crew = engine.open(send_back, [NoRows() for _ in range(n_workers)], no_progress)
    seconds = []
    try:
        for number in range(WARM_UP + n_rounds):
            began = time.perf_counter()
            for worker in range(n_workers):
                crew.send(Task(worker, number, state, 0, Budget(1), n_workers=n_workers))
            reports: list[Report] = []
            while len(reports) < n_workers:
                reports += crew.receive(n_workers - len(reports))
            state = weighted_sum([report.state for report in reports], weights)
            seconds.append(time.perf_counter() - began)
            reports.clear()
    finally:
        crew.close()
    return np.array(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="of each size; otherwise 100 of the small and 10 of the large")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engines", nargs="+", default=["threads", "processes", "dask"])
    parser.add_argument("--parameters", nargs="+", type=int, help="sizes of the state instead of the usual two")
    parser.add_argument("--float32", action="store_true")
    stored_tables.add_option(parser, "rounds")
    given = parser.parse_args()
    dtype = np.float32 if given.float32 else np.float64
    sizes = {f"{size:,} parameters": (size, 30) for size in given.parameters or ()} or SIZES
    rows = []
    for name in given.engines:
        if name not in registry.ENGINES:
            print(f"{name} is not there", file=sys.stderr)
            continue
        try:
            engine = registry.load(registry.ENGINES[name])()
        except MissingDependencyError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if name in ("dask", "ray"):
            engine = replace(engine, n_processes=given.workers)
        with engine if hasattr(engine, "__enter__") else nullcontext(engine) as kept:
            for label, (size, usual) in sizes.items():
                times = 1e3 * seconds_of_rounds(kept, size, dtype, given.workers, given.rounds or usual)
                rows.append([name, label, f"{np.median(times):.3g}", f"{np.quantile(times, 0.9):.3g}"])
    header = ["engine", "state", "ms of a round, median", "90 % quantile"]
    stored_tables.show(table(header, rows, words=(0, 1)), given.save, __file__)


if __name__ == "__main__":
    main()
