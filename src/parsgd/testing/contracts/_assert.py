"""How the suites ask."""

from __future__ import annotations

from typing import Any

# The seed of every check.
SEED = 7


def must(holds: Any, sentence: str) -> None:
    """Raise AssertionError with the sentence unless it ``holds``; unlike ``assert``, under ``python -O`` too."""
    if not holds:
        raise AssertionError(sentence)
