"""Assertion used by the contract suites."""

from __future__ import annotations

from typing import Any

# Random seed of every check.
SEED = 7


def must(holds: Any, sentence: str) -> None:
    """Raise AssertionError with the sentence unless it ``holds``; unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)
