"""PyTorch: tensors in memory, a loop over batches of indices, the optimiser in its default or its fused form.

Also tried, and no faster on 784-256-128-10 and 54-64-32-7: rows put in order once an epoch, with batches as views of
them, and `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from benchmarks.measuring import timed
from benchmarks.solvers.training import Fitted, Training


class Run:
    """A network on its way: `epoch()` makes one pass, or one over the first `n_rows`."""

    def __init__(self, training: Training, X: np.ndarray, y: np.ndarray, seed: int, fused: bool):
        import torch

        torch.manual_seed(seed)
        parts = [part for i, o in pairwise(training.layers) for part in (torch.nn.Linear(i, o), torch.nn.ReLU())]
        self.network = torch.nn.Sequential(*parts[:-1])
        self.X, self.y, self.batch = torch.from_numpy(X), torch.from_numpy(y), training.batch
        self.optimiser = optimiser_of(training, self.network.parameters(), fused)
        self.loss = torch.nn.CrossEntropyLoss()

    def epoch(self, n_rows: int | None = None) -> None:
        import torch

        for index in torch.randperm(len(self.y) if n_rows is None else n_rows).split(self.batch):
            self.optimiser.zero_grad(set_to_none=True)
            self.loss(self.network(self.X[index]), self.y[index]).backward()
            self.optimiser.step()

    def predict(self, X: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self.network(torch.from_numpy(X)).argmax(dim=1).numpy()

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self.network(torch.from_numpy(X)).softmax(dim=1).numpy()


def optimiser_of(training: Training, parameters, fused: bool):
    import torch

    if training.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=training.rate, fused=fused)
    momentum = {"momentum": training.momentum, "nesterov": True} if training.momentum else {}
    return torch.optim.SGD(parameters, lr=training.rate, fused=fused, **momentum)


@dataclass(frozen=True)
class PyTorch:
    training: Training
    threads: int = 2
    fused: bool = True

    name = "PyTorch"

    @property
    def speed(self) -> str:
        return f"{self.threads} thread{'s' * (self.threads > 1)}{', fused' * self.fused}"

    def fit(self, X, y, epochs: int, seed: int = 0) -> Fitted:
        return next(islice(self.passes(X, y, seed), epochs - 1, None))

    def passes(self, X, y, seed: int) -> Iterator[Fitted]:
        """One run, epoch after epoch; what making the network takes is in the first."""
        import torch

        runs: list[Run] = []
        torch.set_num_threads(self.threads)
        seconds = timed(lambda: runs.append(Run(self.training, X, y, seed, self.fused)))
        while True:
            torch.set_num_threads(self.threads)
            seconds += timed(runs[0].epoch)
            yield Fitted(seconds, runs[0].predict, runs[0].predict_proba)


def is_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None
