"""UCI Adult, 123 binary columns."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "adult"
REAL = True


def make(options: Options) -> Problem:
    return real("adult", TITLE, datasets.adult(options.data))
