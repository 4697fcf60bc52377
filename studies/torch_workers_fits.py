"""Fits of PyTorch modules whose merged states are observed: the clock, the losses, and their medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from parsgd.core import EngineWrapper
from parsgd.errors import DivergedError
from parsgd.torch import Trainer

# Arguments: the merged state, steps and examples of all workers together, and the clock in seconds.
Observe = Callable[[np.ndarray, int, int, float], None]


class Stop(Exception):
    """Ends a fit from its observer."""


class Clocked(EngineWrapper):
    """An engine whose pool can be read while a fit runs."""

    def __init__(self, engine: Any, on_open: Callable[[], None] | None = None):
        self.engine, self.on_open = engine, on_open
        self.in_calling_thread = engine.in_calling_thread
        self.pool: Any = None
        self.began = 0.0

    @property
    def name(self) -> str:
        return self.engine.name

    def open(self, work: Any, shards: Any, progress: Any) -> Any:
        self.pool = self.engine.open(work, shards, progress)
        self.began = self.pool.now()
        if self.on_open is not None:
            self.on_open()
        return self.pool

    def seconds(self) -> float:
        """Return the seconds since the start of the fit."""
        return self.pool.now() - self.began


class Observed:
    """An algorithm, and a function that is called after every merge."""

    def __init__(self, algorithm: Any, engine: Clocked, observe: Observe):
        self._algorithm, self._engine, self._observe = algorithm, engine, observe
        self._steps = self._examples = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def __reduce__(self) -> Any:
        # workers need the algorithm only
        return _itself, (self._algorithm,)

    def merge(self, fit_state: Any, reports: Sequence[Any]) -> Any:
        merged = self._algorithm.merge(fit_state, reports)
        self._steps += sum(report.steps for report in reports)
        self._examples += sum(report.examples for report in reports)
        self._observe(merged.state, self._steps, self._examples, self._engine.seconds())
        return merged


def _itself(algorithm: Any) -> Any:
    return algorithm


class Scores(NamedTuple):
    """Mean cross-entropy and accuracy."""

    loss: float
    accuracy: float


def scores(module: torch.nn.Module, X: torch.Tensor, y: torch.Tensor, rows: int = 4096) -> Scores:
    """Return the scores of a classifier; an infinite loss if it is NaN."""
    module.eval()
    total, right = 0.0, 0
    with torch.no_grad():
        for at in range(0, len(y), rows):
            output, target = module(X[at : at + rows]), y[at : at + rows]
            total += float(torch.nn.functional.cross_entropy(output, target, reduction="sum"))
            right += int((output.argmax(1) == target).sum())
    loss = total / len(y)
    return Scores(loss if np.isfinite(loss) else np.inf, right / len(y))


def adamw(rate: float, **settings: Any) -> Callable[[Any], torch.optim.Optimizer]:
    """Return a maker of AdamW in its fused form, which is the fastest one on a CPU."""
    return lambda params: torch.optim.AdamW(params, lr=rate, fused=True, **settings)


def fit(
    module: torch.nn.Module,
    data: Any,
    algorithm: Any,
    engine: Any,
    observe: Observe | None,
    epochs: int,
    seed: int,
    on_open: Callable[[], None] | None = None,
    **settings: Any,
) -> Trainer | None:
    """Train a classifier, and return the trainer; None if the fit diverged or its observer ended it.

    ``on_open`` is called before the first task.
    """
    clocked = Clocked(engine, on_open)
    watched = algorithm if observe is None else Observed(algorithm, clocked, observe)
    trainer = Trainer(
        module,
        torch.nn.CrossEntropyLoss(),
        algorithm=watched,
        engine=clocked,
        random_state=seed,
        n_threads=1,
        **settings,
    )
    try:
        return trainer.fit(data, epochs=epochs)
    except (Stop, DivergedError):
        return None


def spread(values: Sequence[float]) -> list[float]:
    """Return the least, the lower quartile, the median, the upper quartile and the largest value."""
    return [float(f"{value:.6g}") for value in np.percentile(values, [0, 25, 50, 75, 100], method="nearest")]
