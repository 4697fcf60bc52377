"""Assertion used by the contract suites."""

from __future__ import annotations

from typing import Any, Protocol

# Random seed of every check.
SEED = 7


def must_have_members(part: object, contract: type, name: str) -> None:
    """Raise AssertionError, naming the missing members, unless ``part`` has all members of the Protocol ``contract``.

    >>> from parsgd.core import Engine
    >>> must_have_members(object(), Engine, "Engine")
    Traceback (most recent call last):
        ...
    AssertionError: object lacks members of parsgd.core.Engine: capabilities, costs, default_workers, ...
    """
    lacking = [member for member in declared_members(contract) if not hasattr(part, member)]
    must(not lacking, f"{type(part).__name__} lacks members of parsgd.core.{name}: {', '.join(lacking)}.")


def declared_members(contract: type) -> list[str]:
    """Return the names that a Protocol and its bases declare, in alphabetical order."""
    bases = [base for base in contract.__mro__ if Protocol in base.__mro__ and base is not Protocol]
    names = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", {}))}
    return sorted(name for name in names if not name.startswith("_"))


def must(holds: Any, sentence: str) -> None:
    """Raise AssertionError with the sentence unless it ``holds``; unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)
