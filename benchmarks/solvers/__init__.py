"""Solvers of linear problems, a file each.  Everyone gets the same rows, in the form that suits it.

A solver is a module with

- `NAME`, as on the page, and `PACKAGE`, what must be installed for it;
- `SPEEDS`, ways of doing the same work, of which the fastest counts: precision, threads;
- `grid(problem)`, settings of its own to look through for the one that is soonest at a loss;
- `prepare(problem, n_epochs, loss="log_loss", seed=0, **setting) -> run`, where `run()` trains from scratch and returns
  something with `predict_proba`.  What is done in `prepare` is not timed: conversion to a form of the solver's own.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType

from benchmarks.problems import Problem, Unavailable

# penalties that SGD's settings are looked for among
ALPHAS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


@cache
def load(name: str) -> ModuleType:
    """The module of one solver, or `Unavailable` if its package is not installed."""
    module = importlib.import_module(f"benchmarks.solvers.{name}")
    if find_spec(module.PACKAGE) is None:
        raise Unavailable(f"{module.PACKAGE} is not installed")
    return module


def present(names: Sequence[str]) -> list[ModuleType]:
    """Those of some solvers that can take part here."""
    found = []
    for name in names:
        try:
            found.append(load(name))
        except Unavailable:
            continue
    return found


def words(setting: dict) -> str:
    """A setting as on the page: ``alpha 1e-05, averaged, 2 jobs``."""
    parts = []
    for key, value in setting.items():
        if key == "n_jobs":
            parts.append(f"{value} thread{'s' * (value > 1)}")
        elif isinstance(value, bool):
            parts.append(key if value else "")
        elif isinstance(value, str):
            parts.append(value)
        else:
            parts.append(f"{key} {value:g}")
    return ", ".join(part for part in parts if part)


@cache
def in_precision(problem: Problem, dtype: str) -> Problem:
    """The same problem in another precision, converted once."""
    return problem.astype(dtype)


def steps(most: int) -> list[int]:
    """Numbers of epochs to look at: every one up to 10, then a fifth more each time."""
    found = list(range(1, min(most, 10) + 1))
    while found[-1] < most:
        found.append(min(most, math.ceil(1.2 * found[-1])))
    return found
