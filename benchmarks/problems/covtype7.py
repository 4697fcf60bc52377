"""UCI Covertype, all seven classes."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "covtype, 7 classes"
REAL = True


def make(options: Options) -> Problem:
    return real("covtype7", TITLE, datasets.covtype(options.data, classes=True))
