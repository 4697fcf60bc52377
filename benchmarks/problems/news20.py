"""20 Newsgroups, twenty classes."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "news20, 20 classes"
REAL = True


def make(options: Options) -> Problem:
    return real("news20", TITLE, datasets.news20(options.data))
