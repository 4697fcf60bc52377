"""Where a fit stands, in words."""

from __future__ import annotations

import math

from parsgd.training.progress import Progress, WorkerProgress

# More workers than this are summed up.
MOST_WORKERS = 16


def line(told: Progress) -> str:
    """Where a fit stands, in one line.

    >>> line(Progress(500, 2000, 0.25, 1.0, (500,), epochs=4))
    'epoch 1.0 of at most 4, loss 0.25, 500 examples/s, at most 3 s left'
    """
    return ", ".join(part for part in (passes(told), loss(told), speed(told), remaining(told), missing(told)) if part)


def round_line(told: Progress) -> str:
    """The same at the end of a round, with the weights that reports had in it.

    >>> workers = (WorkerProgress(0, 500, weight=0.5), WorkerProgress(1, 500, weight=0.5))
    >>> round_line(Progress(1000, 2000, 0.25, 1.0, (500, 500), epochs=2, rounds=4, workers=workers))
    'round 3: epoch 1.0 of at most 2, loss 0.25, 1,000 examples/s, at most 1 s left, weights 0.500 0.500'
    """
    known = [worker.weight for worker in told.workers if not math.isnan(worker.weight)]
    weights = " ".join(f"{weight:.3f}" for weight in known) if 1 < len(known) <= MOST_WORKERS else ""
    return f"round {max(told.rounds - 1, 0)}: {line(told)}" + f", weights {weights}" * bool(weights)


def passes(told: Progress) -> str:
    """How many passes over the rows are made."""
    return f"epoch {told.epoch:,.1f} of at most {told.epochs:,}"


def loss(told: Progress) -> str:
    """The mean loss lately; nothing before the first one is known."""
    return "" if math.isnan(told.loss) else f"loss {told.loss:.4g}"


def speed(told: Progress) -> str:
    """Of all workers together."""
    return f"{told.rate:,.0f} examples/s"


def remaining(told: Progress) -> str:
    """How long it may take yet, or how long it took."""
    if told.done:
        return f"{duration(told.seconds)} in all"
    return "" if math.isinf(told.left) else f"at most {duration(told.left)} left"


def missing(told: Progress) -> str:
    """Workers that are lost.

    >>> workers = (WorkerProgress(0, 5), WorkerProgress(1, 0, losses=1, gone=True))
    >>> missing(Progress(5, 10, 0.5, 1.0, (5, 0), workers=workers))
    '1 of 2 workers lost'
    """
    gone = sum(worker.gone for worker in told.workers)
    return f"{gone} of {len(told.workers)} workers lost" if gone else ""


def fate(worker: WorkerProgress) -> str:
    """What became of a worker.

    >>> fate(WorkerProgress(0, 5)), fate(WorkerProgress(1, 0, losses=2, why="killed"))
    ('at work', 'replaced 2 times')
    """
    if worker.gone:
        return "lost"
    if worker.losses:
        return "replaced " + ("once" if worker.losses == 1 else f"{worker.losses} times")
    return "at work"


def reasons(workers: tuple[WorkerProgress, ...], most: int = 3) -> list[str]:
    """Why workers were lost, of so many reasons at most; those of workers that nobody replaced come first.

    >>> hit = [WorkerProgress(number, 0, losses=1, why="killed by signal 9") for number in (1, 3)]
    >>> reasons((WorkerProgress(0, 5), *hit))
    ['workers 1, 3: killed by signal 9']
    """
    whose: dict[str, list[str]] = {}
    for worker in sorted(workers, key=lambda worker: not worker.gone):
        if worker.losses:
            whose.setdefault(worker.why, []).append(str(worker.worker))
    return [
        f"worker{'s' * (len(numbers) > 1)} {', '.join(numbers)}: {why}" for why, numbers in list(whose.items())[:most]
    ]


def summary(workers: tuple[WorkerProgress, ...]) -> list[str]:
    """Many workers in a few lines.

    >>> summary(tuple(WorkerProgress(n, 0, rate=100.0 + n) for n in range(40)))
    ['40 workers: 40 at work', 'slowest: worker 0, 100 examples/s; fastest: worker 39, 139 examples/s']
    """
    working = [worker for worker in workers if not worker.gone]
    counts = [f"{len(working)} at work"]
    replaced = sum(bool(worker.losses) for worker in working)
    counts += [f"{replaced} of them replaced"] * bool(replaced)
    counts += [f"{len(workers) - len(working)} lost"] * (len(working) < len(workers))
    said = [f"{len(workers)} workers: {', '.join(counts)}"]
    if working:
        ends = (("slowest", min(working, key=lambda w: w.rate)), ("fastest", max(working, key=lambda w: w.rate)))
        said.append("; ".join(f"{name}: worker {w.worker}, {w.rate:,.0f} examples/s" for name, w in ends))
    return said


def duration(seconds: float) -> str:
    """Seconds in words that fit their size.

    >>> duration(0.0421), duration(75), duration(7260)
    ('0.042 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
