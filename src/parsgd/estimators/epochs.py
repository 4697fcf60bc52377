"""Losses and scores per epoch, and the lines that scikit-learn prints for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.errors import Outcome
from parsgd.training import loop
from parsgd.viz.live import display_mode
from parsgd.viz.live.log_view import to_stdout


def epochs_of(fit: loop.Fit, one_shot: bool) -> tuple[list[float], list[float]]:
    """Return the mean loss per epoch, and the score per epoch where there is one."""
    if one_shot:
        # one round is the whole fit: the reports contain the workers' epochs
        workers = [worker["trace"] for worker in fit.history[0]["workers"] if worker["trace"]]
        if workers:
            epochs = range(max(map(len, workers)))
            ends = [[trace[e] for trace in workers if e < len(trace)] for e in epochs]
            losses = [float(np.mean([end[1] for end in epoch])) for epoch in ends]
            scores = [[end[2] for end in epoch if end[2] is not None] for epoch in ends]
            return losses, [float(np.mean(score)) for score in scores if score]
    sums: dict[int, list[float]] = {}
    scores = []
    start = 0.0
    for entry in fit.history:
        examples = sum(worker["examples"] for worker in entry["workers"])
        # an entry may extend slightly into the next epoch, the last one past the final epoch
        epoch = min(math.ceil((start + entry["epoch"]) / 2 - 1e-9), fit.n_epochs)
        start = entry["epoch"]
        total = sums.setdefault(epoch, [0.0, 0.0])
        total[0] += entry["loss"] * examples
        total[1] += examples
        if entry["score"] is not None:
            scores.append(entry["score"])
    return [loss / max(count, 1.0) for loss, count in sums.values()], scores


def idle_epochs(losses: list[float], tol: float) -> int:
    """Count the final epochs that did not improve the loss by more than ``tol``, as scikit-learn does.

    >>> idle_epochs([1.0, 0.5, 0.5, 0.49], tol=0.1)
    2
    """
    best, idle = math.inf, 0
    for loss in losses:
        idle = idle + 1 if loss > best - tol else 0
        best = min(best, loss)
    return idle


def print_epochs(verbose: Any, fit: loop.Fit, one_shot: bool, network: bool) -> None:
    """Print one line per epoch in scikit-learn's format if ``verbose`` selects plain lines.

    Some programs parse these lines.
    """
    if display_mode.shows_lines(verbose):
        for line in _epoch_lines(fit, one_shot, network):
            to_stdout(line)


def _epoch_lines(fit: loop.Fit, one_shot: bool, network: bool) -> Iterator[str]:
    losses, scores = epochs_of(fit, one_shot)
    for number, loss in enumerate(losses, 1):
        yield f"Iteration {number}, loss = {loss:.8f}" if network else f"-- Epoch {number}, Avg. loss: {loss:f}"
        if len(scores) == len(losses):
            yield f"Validation score: {scores[number - 1]:f}"
    if fit.outcome is Outcome.CONVERGED and not network:
        yield f"Convergence after {fit.n_epochs} epochs took {fit.history[-1]['seconds']:.2f} seconds"
