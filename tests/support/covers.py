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
        row = _values(item.callspec.params.values()) if marker else _entries(item)
        of_function = cases.setdefault((item.nodeid.partition("[")[0], *(marker.args if marker else (1,))), {})
        of_function.setdefault(row, []).append(item)
    outside = []
    for (_, strength), rows in cases.items():
        chosen = set(cover(rows, strength))
        outside += [item for row, same in rows.items() if row not in chosen for item in same]
    return outside


def _entries(item):
    """Return the entry of each list of parameters that a case has; an entry is a tuple of values."""
    params, entries = dict(item.callspec.params), []
    for marker in item.iter_markers("parametrize"):
        names = marker.args[0] if marker.args else marker.kwargs["argnames"]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        entries.append(_values([params.pop(name) for name in names if name in params]))
    # what remains are parameters of fixtures
    return (*entries, *((value,) for value in _values(params.values())))


def _values(values):
    """Return values that can be compared; the identity replaces one that is no string, number or class."""
    return tuple(
        (type(value).__name__, value if isinstance(value, str | int | float | type | None) else id(value))
        for value in values
    )
