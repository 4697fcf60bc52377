"""Validation loss of a small character model after equal numbers of characters: AdamW, and DiLoCo with 1 to 8 workers.

Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105; Charles et al.,
"Communication-Efficient Language Model Training Scales Reliably and Robustly: Scaling Laws for DiLoCo".
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_workers_fits import adamw, fit, scores, spread

from parsgd.algorithms.common.outer_optimizers import Momentum
from parsgd.engines.serial import Serial
from parsgd.torch import DiLoCo, LocalSGD

TUNING_SEED, SEEDS, WORKERS = 0, (1, 2, 3, 4, 5), (1, 2, 4, 8)
SYMBOLS, CONTEXT, EMBEDDING, HIDDEN = 64, 16, 16, 192
# Characters per step of all workers together, steps per worker and round, and steps of a fit.
BATCH, ROUND_STEPS, STEPS, QUICK_STEPS, WARMUP = 256, 20, 1600, 40, 0.05
LEAST_RATE = 0.1
VALIDATION_ROWS, MAILS = 20_000, 4_000
# Every row has eight settings: rates of AdamW, or four of them with rates and betas of the outer step.
PLAIN_RATES = tuple(2e-3 * 2 ** (k / 2) for k in range(8))
INNER_RATES, OUTER_STEPS = PLAIN_RATES[::2], ((0.7, 0.9), (1.0, 0.5))
PLAIN, AVERAGED_WORKERS = "AdamW", 8


def text_of(folder: Path | None) -> tuple[str, str]:
    """Return the text for training and for validation: different mails of Enron-Spam, without spam."""
    if folder is None:
        words = np.random.default_rng(0).choice(
            ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"], 60_000
        )
        text = " ".join(words)
        return text[: len(text) // 2], text[len(text) // 2 :]
    frame = pd.read_parquet(folder / "enron_spam.parquet").drop_duplicates("text")
    mails = frame["text"][~frame["spam"]].to_numpy()
    mails = np.random.default_rng(0).permutation(mails)
    parts = mails[:MAILS], mails[MAILS : MAILS + MAILS // 4]
    return tuple("\n".join(part).replace("\r\n", "\n") for part in parts)


def encoded(train: str, validation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return both texts as numbers: the most frequent characters of the training text, and 0 for all others."""
    known = [character for character, _ in collections.Counter(train).most_common(SYMBOLS - 1)]
    numbers = {character: at + 1 for at, character in enumerate(known)}
    return tuple(np.array([numbers.get(character, 0) for character in text]) for text in (train, validation))


def rows_of(text: np.ndarray, n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return contexts and next characters at distinct random places."""
    places = np.random.default_rng(0).choice(len(text) - CONTEXT, n_rows, replace=False)
    windows = np.lib.stride_tricks.sliding_window_view(text, CONTEXT + 1)[places]
    return torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, -1].copy())


def network(seed: int) -> torch.nn.Module:
    """Return an MLP over the embedded context."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Embedding(SYMBOLS, EMBEDDING),
        torch.nn.Flatten(),
        torch.nn.Linear(CONTEXT * EMBEDDING, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, SYMBOLS),
    )


def n_parameters() -> int:
    return sum(parameter.numel() for parameter in network(0).parameters())


class Problem:
    """The rows of a fit, and its validation loss."""

    def __init__(self, folder: Path | None, steps: int):
        train, validation = encoded(*text_of(folder))
        self.steps = steps
        self.characters = len(train)
        self.train = rows_of(train, steps * BATCH)
        self.validation = rows_of(validation, min(VALIDATION_ROWS, len(validation) // 2))

    def loss(self, n_workers: int, algorithm: Any, rate: float, seed: int) -> float:
        """Return the validation loss after one pass, in which no character is predicted twice."""
        warmup = math.ceil(WARMUP * self.steps)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(self.steps - warmup, 1)
            return LEAST_RATE + (1.0 - LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))

        settings = {
            "n_workers": n_workers,
            "optimizer": adamw(rate),
            "batch_size": BATCH // n_workers,
            "scheduler": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
            "scheduler_interval": "step",
        }
        trainer = fit(network(seed), self.train, algorithm, Serial(), None, 1, seed, **settings)
        return math.inf if trainer is None else scores(trainer.module, *self.validation).loss


@dataclass(frozen=True)
class Row:
    """A number of workers, with an outer step or without one."""

    name: str
    workers: int
    outer: bool = True

    def settings(self) -> list[Setting]:
        if not self.outer:
            return [(rate, None, None) for rate in PLAIN_RATES]
        return [(rate, *outer) for outer in OUTER_STEPS for rate in INNER_RATES]

    def algorithm(self, setting: Setting) -> LocalSGD:
        _, rate, beta = setting
        if rate is None:
            return LocalSGD(sync_every=ROUND_STEPS)
        return DiLoCo(sync_every=ROUND_STEPS, outer_optimizer=Momentum("nesterov", rate=rate, beta=beta))


# Rate of AdamW, and rate and beta of the outer step.
Setting = tuple[float, float | None, float | None]
ROWS = (
    Row(PLAIN, 1, outer=False),
    *(Row(f"DiLoCo, M={workers}", workers) for workers in WORKERS),
    Row(f"averages, M={AVERAGED_WORKERS}", AVERAGED_WORKERS, outer=False),
)


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def measure(folder: Path | None, log: Callable[[str], None]) -> dict[str, Any]:
    """Tune and measure every row."""
    quick = folder is None
    seeds = SEEDS[:2] if quick else SEEDS
    problem = Problem(folder, QUICK_STEPS if quick else STEPS)
    entry: dict[str, Any] = {
        "seeds": list(seeds),
        "steps": problem.steps,
        "batch": BATCH,
        "round_steps": ROUND_STEPS,
        "characters": problem.characters,
        "parameters": n_parameters(),
        "context": CONTEXT,
        "symbols": SYMBOLS,
        "layers": [EMBEDDING * CONTEXT, HIDDEN, SYMBOLS],
        "validation_rows": len(problem.validation[1]),
        "plain_rates": list(PLAIN_RATES),
        "inner_rates": list(INNER_RATES),
        "outer_steps": list(OUTER_STEPS),
        "tuning_seed": TUNING_SEED,
        "rows": [],
    }
    for row in ROWS:

        def loss(setting: Setting, seed: int, row: Row = row) -> float:
            return problem.loss(row.workers, row.algorithm(setting), setting[0], seed)

        settings = row.settings()[:2] if quick else row.settings()
        tried = [(loss(setting, TUNING_SEED), setting) for setting in settings]
        best = min(tried, key=lambda trial: trial[0])[1]
        losses = [loss(best, seed) for seed in seeds]
        found = {
            "name": row.name,
            "workers": row.workers,
            "setting": list(best),
            "trials": [[*setting, _rounded(each)] for each, setting in tried],
            "losses": [_rounded(each) for each in losses],
            "loss": spread(losses),
        }
        entry["rows"].append(found)
        log(f"{row.name}: {best}, {found['losses']}, tried {found['trials']}")
    return entry
