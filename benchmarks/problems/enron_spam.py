"""Enron-Spam, words hashed to 2^18 columns."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.problems import Problem, real
from studies import datasets

TITLE = "enron_spam, 2^18 columns"
REAL = True


def make(options: Options) -> Problem:
    return real("enron_spam", TITLE, datasets.enron_spam(options.data))
