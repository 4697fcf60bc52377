"""Columnar form of lists of similar records, with compressed number columns.

The history of a fit is a list of dictionaries that hold lists of dictionaries. A column of numbers is compressed
without loss: values, types and order are preserved.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

_DTYPES = {float: np.float64, int: np.int64, bool: np.bool_}


def to_columns(values: list[Any]) -> dict[str, Any]:
    """Convert ``values`` to builtins and NumPy arrays, for :func:`from_columns`.

    >>> to_columns([None, None])
    {'none': 2}
    >>> sorted(to_columns([{"loss": 0.5}, {"loss": 0.25}]))
    ['columns', 'keys', 'length']
    """
    kinds = set(map(type, values))
    if len(kinds) == 1:
        kind = kinds.pop()
        if len(set(map(_SHAPES.get(kind, _no_shape), values))) == 1:
            return _WRITERS.get(kind, _items)(values)
    return _mixed(values)


def from_columns(packed: dict[str, Any]) -> list[Any]:
    """Invert :func:`to_columns`.

    >>> from_columns(to_columns([1, None, {"a": [True]}, (2, 0.5)]))
    [1, None, {'a': [True]}, (2, 0.5)]
    """
    for tag, read in _READERS.items():
        if tag in packed:
            return read(packed)
    raise ValueError(f"unknown form of columns: {sorted(packed)}")


def _no_shape(value: Any) -> int:
    return 0


# -- writing ---------------------------------------------------------------------------------------------------------


def _mixed(values: list[Any]) -> dict[str, Any]:
    """Convert values of several types, or records with several sets of keys, each kind to its own columns."""
    groups: dict[tuple, list] = {}
    group_numbers = []
    for value in values:
        kind = type(value)
        group = groups.setdefault((kind, _SHAPES.get(kind, _no_shape)(value)), [len(groups)])
        group.append(value)
        group_numbers.append(group[0])
    return {
        "mixed": np.array(group_numbers, dtype=np.int32),
        "groups": [to_columns(group[1:]) for group in groups.values()],
    }


def _items(values: list[Any]) -> dict[str, Any]:
    return {"items": list(values)}


def _numbers(values: list[Any]) -> dict[str, Any]:
    try:
        array = np.array(values, dtype=_DTYPES[type(values[0])])
    except OverflowError:
        return _items(values)
    return {"dtype": array.dtype.str, "zlib": zlib.compress(_byte_planes(array).tobytes(), level=1)}


def _byte_planes(array: np.ndarray) -> np.ndarray:
    """Group the bytes by position, ``(itemsize, n)``; for similar numbers most bytes of a plane are equal."""
    return np.ascontiguousarray(array.view(np.uint8).reshape(len(array), -1).T)


def _dictionaries(values: list[Any]) -> dict[str, Any]:
    keys = list(values[0])
    return {"keys": keys, "length": len(values), "columns": [to_columns([row[key] for row in values]) for key in keys]}


def _tuples(values: list[Any]) -> dict[str, Any]:
    return {"tuples": [to_columns(list(column)) for column in zip(*values, strict=True)], "length": len(values)}


def _lists(values: list[Any]) -> dict[str, Any]:
    lengths = list(map(len, values))
    return {"lengths": to_columns(lengths), "joined": to_columns([item for value in values for item in value])}


_SHAPES: dict[type, Callable[[Any], Any]] = {dict: tuple, tuple: len}
_WRITERS: dict[type, Callable[[list], dict[str, Any]]] = {
    **dict.fromkeys(_DTYPES, _numbers),
    type(None): lambda values: {"none": len(values)},
    dict: _dictionaries,
    tuple: _tuples,
    list: _lists,
}


# -- reading ---------------------------------------------------------------------------------------------------------


def _from_mixed(packed: dict[str, Any]) -> list[Any]:
    groups = [iter(from_columns(group)) for group in packed["groups"]]
    return [next(groups[number]) for number in packed["mixed"].tolist()]


def _from_numbers(packed: dict[str, Any]) -> list[Any]:
    dtype = np.dtype(packed["dtype"])
    planes = np.frombuffer(zlib.decompress(packed["zlib"]), dtype=np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel().tolist()


def _from_rows(packed: dict[str, Any], columns: list[dict[str, Any]]) -> list[tuple]:
    return list(zip(*map(from_columns, columns), strict=True)) if columns else [()] * packed["length"]


def _from_dictionaries(packed: dict[str, Any]) -> list[dict]:
    keys = packed["keys"]
    return [dict(zip(keys, row, strict=True)) for row in _from_rows(packed, packed["columns"])]


def _from_lists(packed: dict[str, Any]) -> list[list]:
    joined = from_columns(packed["joined"])
    ends = np.cumsum([0, *from_columns(packed["lengths"])]).tolist()
    return [joined[start:end] for start, end in pairwise(ends)]


_READERS: dict[str, Callable[[dict[str, Any]], list]] = {
    "mixed": _from_mixed,
    "zlib": _from_numbers,
    "none": lambda packed: [None] * packed["none"],
    "keys": _from_dictionaries,
    "tuples": lambda packed: _from_rows(packed, packed["tuples"]),
    "lengths": _from_lists,
    "items": lambda packed: list(packed["items"]),
}
