"""Text about the progress of a fit."""

from __future__ import annotations

import math

from parsgd.training.reporting.progress import Progress, WorkerProgress
from parsgd.viz.number_format import duration

# Views summarize more workers than this.
MAX_WORKERS = 16


def line(progress: Progress) -> str:
    """Return the progress of a fit in one line.

    >>> line(Progress(500, 2000, 0.25, 1.0, (500,), epochs=4))
    'epoch 1.0 of at most 4, loss 0.25, 500 examples/s, at most 3 s left'
    """
    lost = sum(worker.lost for worker in progress.workers)
    missing = f"{lost} of {len(progress.workers)} workers lost" if lost else ""
    return ", ".join(part for part in (passes(progress), *speed(progress), missing) if part)


def round_line(progress: Progress) -> str:
    """Return the progress at the end of a round in one line, with the merge weights.

    >>> workers = (WorkerProgress(0, 500, weight=0.5), WorkerProgress(1, 500, weight=0.5))
    >>> round_line(Progress(1000, 2000, 0.25, 1.0, (500, 500), epochs=2, rounds=4, workers=workers))
    'round 3: epoch 1.0 of at most 2, loss 0.25, 1,000 examples/s, at most 1 s left, weights 0.500 0.500'
    """
    known = [worker.weight for worker in progress.workers if not math.isnan(worker.weight)]
    weights = " ".join(f"{weight:.3f}" for weight in known) if 1 < len(known) <= MAX_WORKERS else ""
    return f"round {max(progress.rounds - 1, 0)}: {line(progress)}" + f", weights {weights}" * bool(weights)


def passes(progress: Progress) -> str:
    """Return the number of passes over the rows."""
    return f"epoch {progress.epoch:,.1f} of at most {progress.epochs:,}"


def speed(progress: Progress) -> list[str]:
    """Return the recent mean loss, the speed of all workers, and the remaining or the total time, as far as known."""
    loss = [] if math.isnan(progress.loss) else [f"loss {progress.loss:.4g}"]
    if progress.done:
        time = [f"{duration(progress.seconds)} in total"]
    else:
        time = [] if math.isinf(progress.left) else [f"at most {duration(progress.left)} left"]
    return [*loss, f"{progress.rate:,.0f} examples/s", *time]


def status(worker: WorkerProgress) -> str:
    """Return the status of a worker: running, replaced or lost.

    >>> status(WorkerProgress(0, 5)), status(WorkerProgress(1, 0, lost_tasks=2, why="killed"))
    ('running', 'replaced 2 times')
    """
    if worker.lost:
        return "lost"
    if worker.lost_tasks:
        return "replaced " + ("once" if worker.lost_tasks == 1 else f"{worker.lost_tasks} times")
    return "running"


def reasons(workers: tuple[WorkerProgress, ...], limit: int = 3) -> list[str]:
    """Return at most ``limit`` reasons of lost tasks; those of workers without a replacement come first.

    >>> hit = [WorkerProgress(number, 0, lost_tasks=1, why="killed by signal 9") for number in (1, 3)]
    >>> reasons((WorkerProgress(0, 5), *hit))
    ['workers 1, 3: killed by signal 9']
    """
    by_reason: dict[str, list[str]] = {}
    for worker in sorted(workers, key=lambda worker: not worker.lost):
        if worker.lost_tasks:
            by_reason.setdefault(worker.why, []).append(str(worker.worker))
    items = list(by_reason.items())[:limit]
    return [f"worker{'s' * (len(numbers) > 1)} {', '.join(numbers)}: {why}" for why, numbers in items]


def summary(workers: tuple[WorkerProgress, ...]) -> list[str]:
    """Summarize many workers in two lines.

    >>> summary(tuple(WorkerProgress(n, 0, rate=100.0 + n) for n in range(40)))
    ['40 workers: 40 running', 'slowest: worker 0, 100 examples/s; fastest: worker 39, 139 examples/s']
    """
    running = sorted((worker for worker in workers if not worker.lost), key=lambda worker: worker.rate)
    replaced = sum(bool(worker.lost_tasks) for worker in running)
    counts = [f"{len(running)} running"]
    counts += [f"{replaced} of them replaced"] * bool(replaced)
    counts += [f"{len(workers) - len(running)} lost"] * (len(running) < len(workers))
    lines = [f"{len(workers)} workers: {', '.join(counts)}"]
    if running:
        ends = {"slowest": running[0], "fastest": running[-1]}
        lines.append("; ".join(f"{name}: worker {w.worker}, {w.rate:,.0f} examples/s" for name, w in ends.items()))
    return lines
