"""UCI Covertype, class 2 against the rest."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "covtype, class 2"
REAL = True


def make(options: Options) -> Problem:
    return real("covtype2", TITLE, datasets.covtype(options.data))
