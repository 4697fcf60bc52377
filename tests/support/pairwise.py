"""Pairwise covers of parametrized tests: few cases in which every two parameter values meet."""

from collections.abc import Hashable
from itertools import combinations


def pairwise_cover(rows):
    """Return few of the ``rows``, such that any two values that meet in a row meet in one of these (greedy)."""
    pairs = {row: frozenset(combinations(enumerate(row), 2)) or frozenset(enumerate(row)) for row in rows}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        chosen.append(max(pairs, key=lambda row: len(pairs[row] & missing)))
        missing -= pairs[chosen[-1]]
    return chosen


def outside_cover(items):
    """Return the test items that a pairwise cover of the parameters of their function does not need."""
    cases = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], {}).setdefault(_values(item.callspec), item)
    covers = {name: set(pairwise_cover(list(rows))) for name, rows in cases.items()}
    return [item for name, rows in cases.items() for row, item in rows.items() if row not in covers[name]]


def _values(callspec):
    """Return the values of the parameters; a value that has no plain equality is replaced by its index."""
    plain = (str, int, float, type(None), type)
    return tuple(
        (type(value).__name__, value) if isinstance(value, plain) and isinstance(value, Hashable) else index
        for value, index in ((value, callspec.indices[name]) for name, value in callspec.params.items())
    )
