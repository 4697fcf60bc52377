"""Sparse rows as texts give them: 200,000 rows, 47,000 columns, 75 draws a row."""

from __future__ import annotations

from benchmarks.data import word_rows
from benchmarks.options import Options
from benchmarks.problems import Problem

TITLE = "sparse binary, 200k x 47k, 75 a row"
REAL = False


def make(options: Options) -> Problem:
    return Problem("csr_binary", TITLE, *word_rows(options.shrink(200_000), 47_000, 75))
