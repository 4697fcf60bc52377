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


class Item(SimpleNamespace):
    """A test item: its parameters, the places in their lists, and its mark."""

    def get_closest_marker(self, name):
        return self.mark


def items(*lists, mark=None):
    for places in product(*(range(len(values)) for values in lists)):
        params = {f"p{i}": values[place] for i, (values, place) in enumerate(zip(lists, places, strict=True))}
        callspec = SimpleNamespace(params=params, indices=dict(zip(params, places, strict=True)))
        yield Item(nodeid=f"test[{places}]", callspec=callspec, mark=mark)


@pytest.mark.parametrize(("mark", "kept"), [(None, 5), (SimpleNamespace(args=(2,)), 15)], ids=["unmarked", "cover(2)"])
def test_several_lists_of_parameters_have_a_cover(mark, kept):
    made = list(items("abcde", "xyz", mark=mark))
    outside = {item.nodeid for item in outside_covers(made)}
    inside = [item for item in made if item.nodeid not in outside]
    assert len(inside) == kept
    assert {item.callspec.params["p0"] for item in inside} == set("abcde")
    assert {item.callspec.params["p1"] for item in inside} == set("xyz")


def test_one_list_of_parameters_is_kept_whole():
    assert outside_covers(list(items("aabbc"))) == []
    # a list of tuples is one list: all its names have the same place in it
    pairs = [
        Item(
            nodeid=f"test[{i}]",
            mark=None,
            callspec=SimpleNamespace(params={"a": a, "b": b}, indices={"a": i, "b": i}),
        )
        for i, (a, b) in enumerate(product("xy", "xy"))
    ]
    assert outside_covers(pairs) == []
