"""Covers of parametrized tests: every value occurs about equally often, and what shall meet does."""

from collections import Counter
from itertools import combinations, product
from types import SimpleNamespace

import pytest
from covers import cover, outside_covers

PRODUCTS = {
    "square": [range(3), range(3)],
    "long and short": [range(7), range(2)],
    "three": [range(4), range(3), range(2)],
    "four": [range(5), range(4), range(3), range(3)],
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("strength", [1, 2])
@pytest.mark.cover(2)
def test_all_values_and_all_groups_of_values_occur(name, strength):
    lists = PRODUCTS[name]
    chosen = cover(list(product(*lists)), strength)
    for places in combinations(range(len(lists)), strength):
        met = {tuple(row[place] for place in places) for row in chosen}
        assert met == set(product(*(lists[place] for place in places)))
    assert len(chosen) < len(list(product(*lists))) or len(lists) == strength


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("strength", [1, 2])
@pytest.mark.cover(2)
def test_values_are_used_in_balance(name, strength):
    """The most used value of a parameter occurs at most twice as often as the least used one, and once more."""
    chosen = cover(list(product(*PRODUCTS[name])), strength)
    for place, values in enumerate(PRODUCTS[name]):
        used = Counter(row[place] for row in chosen)
        assert set(used) == set(values)
        assert max(used.values()) <= 2 * min(used.values()) + 1


def test_values_that_never_meet_are_not_asked_for():
    rows = [(a, b) for a, b in product(range(4), range(4)) if a != b]
    assert set(cover(rows, 2)) == set(rows)
    assert {a for a, _ in cover(rows, 1)} == {b for _, b in cover(rows, 1)} == set(range(4))


class Item:
    """A test item: its parameters, and its marks."""

    def __init__(self, lists, entries, strength):
        self.nodeid = f"test[{entries}]"
        self.lists, self.strength = lists, strength
        names = [name for names in lists for name in names.split(",")]
        self.callspec = SimpleNamespace(params=dict(zip(names, entries, strict=True)))

    def get_closest_marker(self, name):
        return SimpleNamespace(args=(self.strength,)) if self.strength else None

    def iter_markers(self, name):
        return [SimpleNamespace(args=(names, values)) for names, values in self.lists.items()]


def inside(strength, **lists):
    """Return the parameters of the cases in the cover of a test with these lists of parameters."""
    lists = {names.replace("_", ","): values for names, values in lists.items()}
    rows = product(*([v if isinstance(v, tuple) else (v,) for v in values] for values in lists.values()))
    items = [Item(lists, [value for entry in row for value in entry], strength) for row in rows]
    outside = {item.nodeid for item in outside_covers(items)}
    return [item.callspec.params for item in items if item.nodeid not in outside]


@pytest.mark.parametrize(("strength", "kept"), [(None, 5), (1, 5), (2, 15)])
def test_several_lists_of_parameters_have_a_cover(strength, kept):
    found = inside(strength, a="abcde", b="xyz")
    assert len(found) == kept
    assert {params["a"] for params in found} == set("abcde")
    assert {params["b"] for params in found} == set("xyz")


def test_one_list_is_kept_whole_even_if_its_tuples_share_values():
    pairs = list(product("xy", "xy"))
    assert len(inside(None, a="abcde")) == 5
    assert len(inside(None, a_b=pairs)) == 4
    assert len(inside(None, a_b=pairs, c="pqr")) == 4
    # the mark covers the values of a list of tuples
    assert len(inside(1, a_b=pairs)) == 2
