"""Resolution of column declarations: from ``columns=`` and the schema to a kind per column, before any row is read."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from parsgd.data.columns.column_kinds import KINDS, Dates, HashedCategories, Kind, Numeric, OneHot, Text
from parsgd.data.columns.numeric import kind_of_type
from parsgd.errors import DataFileError, InvalidArgumentError, choose, did_you_mean

# pandas names a nameless column "Unnamed: 0".
_INDEX = re.compile(r"(Unnamed: \d+|__index_level_\d+__|__null_dask_index__)?")
_BY_NAME = {"numbers": Numeric, "dates": Dates, "onehot": OneHot, "hashed": HashedCategories, "text": Text}
_FORMS = "a list of Numeric, Dates, OneHot, HashedCategories, Text and names, or {name: kind}"


def check_names(schema: Any, named: Iterable[str | None], where: str) -> None:
    """Raise unless the table has each named column exactly once."""
    names = schema.names
    count = Counter(names)
    for name in named:
        if name is None:
            continue
        if name not in count:
            hint = did_you_mean(str(name), names)
            raise DataFileError(f"{where}: has no column {name!r}.{hint} Its columns are {listed(names)}.")
        if count[name] > 1:
            raise DataFileError(f"{where}: two columns are called {name!r}; give each its own name.")


def listed(names: Iterable[str], most: int = 20) -> str:
    """Format the first ``most`` names in one line.

    >>> listed("abc", most=2)
    'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def declared(columns: Any, schema: Any, apart: Iterable[str | None], where: str) -> tuple[Kind, ...]:
    """Complete the declared ``columns`` from the ``schema``; ``apart`` are target and weight.

    None means all columns. A column given by name alone is numeric if it holds numbers, and hashed if it holds texts.
    """
    apart = {name for name in apart if name is not None}
    index = set(index_names(schema))
    given = _given(columns, [name for name in schema.names if name not in apart and name not in index])
    named = [name for item in given for name in ((item,) if isinstance(item, str) else item.names)]
    check_names(schema, named, where)
    count = Counter(named)
    for name in named:
        if name in apart:
            raise InvalidArgumentError(
                f"columns= names {name!r}, which is the target or the weight; leave it out there."
            )
        if count[name] > 1:
            raise InvalidArgumentError(f"columns= names {name!r} twice; a column is read in one way.")
    taken = set(named) | apart
    kinds = [_complete(item, schema, taken | index, where) for item in _grouped(given, schema, where)]
    kinds = [kind for kind in kinds if kind.names]
    if not kinds:
        raise DataFileError(f"{where}: no column is left to learn from; its columns are {listed(schema.names)}.")
    return tuple(kinds)


def index_names(schema: Any) -> list[str]:
    """Return index columns of pandas and nameless columns; they are features only if named explicitly."""
    known = _index_of_pandas((schema.metadata or {}).get(b"pandas", b"{}"))
    return [name for name in schema.names if name in known or _INDEX.fullmatch(name)]


@functools.lru_cache(maxsize=4)
def _index_of_pandas(metadata: bytes) -> frozenset[str]:
    return frozenset(name for name in json.loads(metadata).get("index_columns", []) if isinstance(name, str))


def _given(columns: Any, all_names: list[str]) -> list[str | Kind]:
    if columns is None:
        return all_names
    if isinstance(columns, (*KINDS, str)):
        return [columns]
    if isinstance(columns, Mapping):
        return [_named(name, kind) for name, kind in columns.items()]
    if not isinstance(columns, Iterable):
        raise InvalidArgumentError(f"columns= must be {_FORMS}. Got {columns!r} instead.")
    items = [_instance(item) for item in columns]
    for item in items:
        if not isinstance(item, (str, *KINDS)):
            raise InvalidArgumentError(f"columns= must be {_FORMS}. It holds {item!r}.")
    return items


def _instance(item: Any) -> Any:
    if isinstance(item, type) and issubclass(item, KINDS):
        raise InvalidArgumentError(f"columns= holds the class {item.__name__}; call it: {item.__name__}(...).")
    return item


def _named(name: Any, kind: Any) -> Kind:
    """Build a kind from ``{name: kind}``, where the kind may be a string or lack the name."""
    names = (name,) if isinstance(name, str) else tuple(name)
    if isinstance(kind, str):
        kind = _BY_NAME[choose(kind, _BY_NAME, "columns", "open_dataset")]()
    if not isinstance(_instance(kind), KINDS):
        raise InvalidArgumentError(f"columns= must be {_FORMS}; for {name!r} it has {kind!r}.")
    if kind.names not in ((), names):
        raise InvalidArgumentError(f"columns= has {kind!r} for the column {name!r}; leave out one of the names.")
    if isinstance(kind, (Numeric, HashedCategories)):
        return replace(kind, names=names)
    if len(names) != 1:
        raise InvalidArgumentError(f"columns= has a {type(kind).__name__} for {name!r}; it takes one column.")
    return replace(kind, name=names[0])


def _grouped(given: list[str | Kind], schema: Any, where: str) -> list[Kind]:
    """Group bare names into kinds: numbers together, texts together, each at the position of its first name."""
    out: list[Any] = []
    groups: dict[type, list[str]] = {}
    for item in given:
        if not isinstance(item, str):
            out.append(item)
            continue
        kind = _inferred(item, schema, where)
        if kind not in groups:
            groups[kind] = []
            out.append(kind)
        groups[kind].append(item)
    return [item(tuple(groups[item])) if isinstance(item, type) else item for item in out]


def _inferred(name: str, schema: Any, where: str) -> type:
    what = kind_of_type(schema.field(name).type)
    if what in ("number", "text", "time"):
        return Numeric if what == "number" else HashedCategories
    kind = schema.field(name).type
    advice = {
        "moment": f"days since 1970, Numeric([{name!r}]), or categories, OneHot({name!r})",
        "nothing": f"numbers, Numeric([{name!r}], missing=0.0), or leave it out",
    }.get(what, "one that holds numbers or texts instead, or leave it out")
    raise DataFileError(
        f"{where}: column {name!r} holds {kind}, which can be read in more ways than one. Declare in columns= how:"
        f" {advice}."
    )


def _complete(kind: Kind, schema: Any, taken: set[str], where: str) -> Kind:
    """Expand ``Numeric()`` without names to all numeric columns not named otherwise."""
    if isinstance(kind, Numeric) and not kind.names:
        rest = [
            name
            for name, of in zip(schema.names, schema.types, strict=True)
            if name not in taken and kind_of_type(of) == "number"
        ]
        return replace(kind, names=tuple(rest))
    if not kind.names:
        raise InvalidArgumentError(f"columns= has a {type(kind).__name__} that names no column.")
    if isinstance(kind, Numeric):
        for name in kind.names:
            if not isinstance(kind, Dates) and kind_of_type(schema.field(name).type) in ("text", "other"):
                raise DataFileError(
                    f"{where}: column {name!r} holds {schema.field(name).type}, and numbers were declared. Declare it"
                    " as OneHot, HashedCategories or Text, or correct the file."
                )
    return kind
