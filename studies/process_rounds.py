"""Round trips of a state to worker processes: parsgd's pool, and loky with one executor per worker.

Usage: python studies/process_rounds.py [--workers 2] [--rounds 100]

A round sends each worker a state and waits for a changed copy from each.  With loky the state travels by pickle or
through ``multiprocessing.shared_memory``, written and read in place.  The last table has the seconds from the death of
a worker to the next answer of its replacement.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing import shared_memory

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor

from parsgd import Processes
from parsgd.core import Budget, Report, Task, TaskFailed

SIZES_MB = (0.1, 1.0, 8.0)


@dataclass(frozen=True)
class NoRows:
    """A shard without rows, because the study measures the message and not the training."""

    n_rows: int = 0
    cost: float = 0.0

    def portable(self) -> NoRows:
        return self

    def close(self) -> None:
        return


def answer(shard, task, progress) -> Report:
    """Report the state with one element changed; the seconds hold the number of the process."""
    zero = np.zeros(1)
    return Report(task.worker, task.round, change(task.state), 0, 0, zero, zero, float(os.getpid()), 0.0, zero)


def change(state: np.ndarray) -> np.ndarray:
    state = state.copy()
    state[0] += 1
    return state


def change_in_place(name: str, size: int) -> None:
    """Change one element of a state in shared memory; the block stays open for the next round."""
    if name not in _blocks:
        _blocks[name] = shared_memory.SharedMemory(name)
    np.frombuffer(_blocks[name].buf, count=size)[:] = change(np.frombuffer(_blocks[name].buf, count=size))


_blocks: dict[str, shared_memory.SharedMemory] = {}


def median_ms(run_round, rounds: int) -> float:
    """Median of the milliseconds of a round, after ten rounds of warming up."""
    times = []
    for _ in range(rounds + 10):
        began = time.perf_counter()
        run_round()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[10:])


def task_of(worker: int, state: np.ndarray) -> Task:
    return Task(worker, 0, state, 0, Budget(examples=1))


def measure_parsgd(workers: int, rounds: int, sizes: list[int]) -> tuple[list[float], float]:
    pool = Processes(workers).open(answer, [NoRows() for _ in range(workers)], lambda *_: True)

    def run_round(state: np.ndarray) -> list[Report | TaskFailed]:
        for worker in range(workers):
            pool.send(task_of(worker, state))
        return pool.receive(workers)

    try:
        medians = [median_ms(partial(run_round, np.zeros(size)), rounds) for size in sizes]
        victim = next(report for report in run_round(np.zeros(10)) if report.worker == 0)
        os.kill(int(victim.seconds), signal.SIGKILL)
        began = time.perf_counter()
        while any(isinstance(result, TaskFailed) for result in run_round(np.zeros(10))):
            pass
        return medians, time.perf_counter() - began
    finally:
        pool.close()


def measure_loky(workers: int, rounds: int, sizes: list[int]) -> tuple[list[float], list[float], float]:
    executors = [ProcessPoolExecutor(max_workers=1, timeout=None) for _ in range(workers)]

    def pickled(state: np.ndarray) -> None:
        for future in [executor.submit(change, state) for executor in executors]:
            future.result()

    def shared(blocks: list[shared_memory.SharedMemory], state: np.ndarray) -> None:
        for block in blocks:
            np.frombuffer(block.buf, count=len(state))[:] = state
        pairs = zip(executors, blocks, strict=True)
        for future in [executor.submit(change_in_place, block.name, len(state)) for executor, block in pairs]:
            future.result()

    by_pickle = [median_ms(partial(pickled, np.zeros(size)), rounds) for size in sizes]
    by_memory = []
    for size in sizes:
        blocks = [shared_memory.SharedMemory(create=True, size=8 * size) for _ in range(workers)]
        by_memory.append(median_ms(partial(shared, blocks, np.zeros(size)), rounds))
        for block in blocks:
            block.unlink()
    os.kill(executors[0].submit(os.getpid).result(), signal.SIGKILL)
    began = time.perf_counter()
    while True:
        try:
            executors[0].submit(change, np.zeros(10)).result()
            break
        except RuntimeError:  # loky's executor is broken for good after a death
            executors[0] = ProcessPoolExecutor(max_workers=1, timeout=None)
    recovery = time.perf_counter() - began
    for executor in executors:
        executor.shutdown(kill_workers=True)
    return by_pickle, by_memory, recovery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    sizes = [int(megabytes * 1e6 / 8) for megabytes in SIZES_MB]
    ours, recovery = measure_parsgd(options.workers, options.rounds, sizes)
    by_pickle, by_memory, loky_recovery = measure_loky(options.workers, options.rounds, sizes)
    print(f"{'state MB':>9} {'parsgd ms':>10} {'loky, pickle ms':>16} {'loky, shared memory ms':>23}")
    for row in zip(SIZES_MB, ours, by_pickle, by_memory, strict=True):
        print("{:9.1f} {:10.2f} {:16.2f} {:23.2f}".format(*row))
    print(f"seconds from a death to the next answer: parsgd {recovery:.2f}, loky {loky_recovery:.2f}")


if __name__ == "__main__":
    main()
