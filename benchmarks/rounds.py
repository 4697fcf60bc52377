"""What a round costs beside the work in it: tasks out, reports back, one average; milliseconds, by engine and size.

Usage: python benchmarks/rounds.py [--engines threads,processes] [--workers 1,2] [--parameters 10,50000,5000000]

The work of each task is to copy its state.  Engines take turns; figures are medians over rounds, and the best round.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from parsgd.algorithms.merging import weighted_sum
from parsgd.core import Budget, Task, silent
from parsgd.registry import ENGINES, load
from parsgd.testing.contracts.small import small_report, small_source

# So many rounds, or fewer where states are large.
MOST_ROUNDS, ROUNDS_OF_NUMBERS = 200, 1e8


def copying(shard, task, pulse):
    """Do nothing but make a state of one's own."""
    return replace(small_report(task.worker, task.state.copy(), task.round), examples=1)


def rounds(engine, n_workers: int, n_parameters: int) -> list[float]:
    """Seconds of each round."""
    crew = engine.open(copying, small_source().split(n_workers, 0), silent)
    state, seconds = np.random.default_rng(0).random(n_parameters), []
    try:
        for number in range(int(min(MOST_ROUNDS, max(10, ROUNDS_OF_NUMBERS / n_parameters)))):
            began = time.perf_counter()
            for worker in range(n_workers):
                crew.send(Task(worker, number, state, 0, Budget(1)))
            reports = []
            while len(reports) < n_workers:
                reports += crew.receive(1)
            state = weighted_sum([report.state for report in reports], np.full(n_workers, 1.0 / n_workers))
            del reports
            seconds.append(time.perf_counter() - began)
    finally:
        crew.close()
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="serial,threads,processes")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--parameters", default="10,50000,5000000")
    given = parser.parse_args()
    with ExitStack() as stack:
        engines = {name: load(ENGINES[name])() for name in given.engines.split(",")}
        for engine in engines.values():
            if hasattr(engine, "__enter__"):
                stack.enter_context(engine)
        print("| parameters | workers | " + " | ".join(engines) + " |\n" + "|---" * (2 + len(engines)) + "|")
        for n_parameters in map(int, given.parameters.split(",")):
            for n_workers in map(int, given.workers.split(",")):
                cells = []
                for engine in engines.values():
                    seconds = 1e3 * np.array(rounds(engine, n_workers, n_parameters))
                    cells.append(f"{np.median(seconds):.2f} (best {seconds.min():.2f})")
                print(f"| {n_parameters:,} | {n_workers} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
