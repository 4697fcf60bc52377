"""Advance of the learning-rate schedule by a round, and the seeds of the workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.core import Report, Task


def schedule_advance(
    reports: Sequence[Report], tasks: Sequence[Task], weights: np.ndarray, n_active: int, is_common: bool
) -> float:
    """Return the increase of the schedule step in a round; ``tasks`` are those of the reports.

    With a common schedule step (``is_common``) it is the latest reading.  With a schedule step size other than 1 it is
    the workers' sum, divided by that size.  Otherwise it is the mean of the workers' increases with the merge weights.
    If only some of the ``n_active`` workers report, the mean is multiplied by their fraction.
    """
    moved = np.array([report.schedule_step - task.schedule_step for report, task in zip(reports, tasks, strict=True)])
    if is_common:
        return float(moved.max())
    step_size = tasks[0].schedule_step_size
    if step_size != 1.0:
        return float(moved.sum()) / step_size
    # a merge without displacement still advances the schedule
    counted = np.abs(weights) if np.any(weights) else np.array([float(report.steps > 0) for report in reports])
    total, share = counted.sum(), len(reports) / max(n_active, 1)
    return float((counted * moved).sum()) / total * share if total > 0.0 else 0.0


def worker_seed(seed: int, worker: int) -> int:
    """Return the seed of a worker.

    Worker 0 has the seed of the fit, so that one worker is serial SGD; other seeds are derived from it.
    """
    if worker == 0:
        return seed
    return int(np.random.SeedSequence((seed, worker)).generate_state(1)[0] & 0x7FFFFFFF) or 1
