"""Dense rows in the shape of Covertype: 580,000 rows, 54 columns."""

from __future__ import annotations

from benchmarks.data import normal_rows
from benchmarks.options import Options
from benchmarks.problems import Problem

TITLE = "dense binary, 580k x 54"
REAL = False


def make(options: Options) -> Problem:
    return Problem("dense_binary", TITLE, *normal_rows(options.shrink(580_000), 54))
