"""Unification of the types of a column across files."""

from __future__ import annotations

from typing import Any

from parsgd.data.columns.numeric import arrow, is_number, is_text


def common_type(one: Any, other: Any) -> Any:
    """Return the Arrow type to which both can be cast, or None: numbers with numbers, texts with texts.

    >>> import pyarrow as pa
    >>> common_type(pa.int32(), pa.float64()), common_type(pa.bool_(), pa.int8()), common_type(pa.int8(), pa.string())
    (DataType(double), DataType(int8), None)
    """
    pa = arrow()
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if is_text(one) and is_text(other):
        return pa.large_string()
    if is_number(one) and is_number(other):
        for flag, number in ((one, other), (other, one)):
            if pa.types.is_boolean(flag):
                return number
        return _unified(one, other) or pa.float64()
    return None if is_text(one) or is_text(other) else _unified(one, other)


def _unified(one: Any, other: Any) -> Any:
    pa = arrow()
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
