"""t-wise covers of parametrized tests: few cases in which any t parameter values that can meet do meet."""

from collections import Counter
from itertools import combinations


def cover(rows, strength):
    """Return few of the ``rows``, such that ``strength`` values that meet in a row also meet in one of these."""
    groups = {row: frozenset(combinations(enumerate(row), min(strength, len(row)))) for row in rows}
    missing, chosen, used = set().union(*groups.values()), [], Counter()
    while missing:
        # of equal rows the one with the least used values, so that no value stands with one of another parameter only
        row = max(groups, key=lambda row: (len(groups[row] & missing), -sum(used[value] for value in enumerate(row))))
        chosen.append(row)
        missing -= groups[row]
        used.update(enumerate(row))
    return chosen


def outside_covers(items):
    """Return the items that the cover of their test function does not need.

    Functions marked as ``cover(strength)`` have a cover of this strength.  In all others that have several lists of
    parameters, each entry of each list occurs once.
    """
    cases = {}
    for item in items:
        if not hasattr(item, "callspec"):
            continue
        marker = item.get_closest_marker("cover")
        row = _values(item.callspec) if marker else tuple(item.callspec.indices.values())
        of_function = cases.setdefault((item.nodeid.partition("[")[0], *(marker.args if marker else (1,))), {})
        of_function.setdefault(row, []).append(item)
    outside = []
    for (_, strength), rows in cases.items():
        chosen = set(cover(rows, strength))
        outside += [item for row, same in rows.items() if row not in chosen for item in same]
    return outside


def _values(callspec):
    """Return the values of the parameters; the identity replaces a value that is no string, number or class."""
    return tuple(
        (type(value).__name__, value if isinstance(value, str | int | float | type | None) else id(value))
        for value in callspec.params.values()
    )
