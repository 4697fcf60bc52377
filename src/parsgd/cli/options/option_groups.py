"""Options in groups: a dataclass of options stands in a command's signature for all of its fields.

So options that commands share, with their help and what becomes of them, are written once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints


def grouped(function: Callable, *apart: type) -> Callable:
    """``function`` with each parameter that is a group replaced by the fields of the group.

    The fields of the groups ``apart`` are taken, too, and not passed on.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Place:
    ...     x: int = 0
    ...     y: int = 0
    >>> def show(name: str, place: Place): print(name, place)
    >>> flat = grouped(show)
    >>> str(inspect.signature(flat))
    '(*, name: str, x: int = 0, y: int = 0)'
    >>> flat(name="here", x=1)
    here Place(x=1, y=0)
    """
    taken = inspect.signature(function, eval_str=True).parameters.values()
    groups = {taker.name: taker.annotation for taker in taken if is_dataclass(taker.annotation)}
    flat: list[Parameter] = []
    for taker in taken:
        flat += _of_group(taker.annotation) if taker.name in groups else [taker.replace(kind=Parameter.KEYWORD_ONLY)]

    for group in apart:
        flat += _of_group(group)
    members = {name: _names(group) for name, group in groups.items()}
    unasked = {name for group in apart for name in _names(group)}

    @functools.wraps(function)
    def called(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{member: values.pop(member) for member in members[name] if member in values})
        return function(**{name: value for name, value in values.items() if name not in unasked})

    del called.__wrapped__
    called.__signature__ = inspect.Signature(flat)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return called


def _names(group: Any) -> list[str]:
    return [field.name for field in fields(group)]


def _of_group(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
