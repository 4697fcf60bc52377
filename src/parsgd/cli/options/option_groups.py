"""Option groups: a dataclass in a command's signature contributes one option per field.

Commands share groups, so each option and its help text are defined once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints


def expand_groups(function: Callable, *extra: type) -> Callable:
    """Replace each parameter of ``function`` that is a group by the fields of the group.

    The fields of the groups in ``extra`` become parameters, too, but are not passed to ``function``.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: int = 0
    ...     y: int = 0
    >>> def show(name: str, point: Point): print(name, point)
    >>> flat = expand_groups(show)
    >>> str(inspect.signature(flat))
    '(*, name: str, x: int = 0, y: int = 0)'
    >>> flat(name="origin", x=1)
    origin Point(x=1, y=0)
    """
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    groups = {one.name: one.annotation for one in parameters if is_dataclass(one.annotation)}
    flat: list[Parameter] = []
    for one in parameters:
        flat += _parameters(one.annotation) if one.name in groups else [one.replace(kind=Parameter.KEYWORD_ONLY)]

    for group in extra:
        flat += _parameters(group)
    members = {name: _names(group) for name, group in groups.items()}
    dropped = {name for group in extra for name in _names(group)}

    @functools.wraps(function)
    def wrapper(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{member: values.pop(member) for member in members[name] if member in values})
        return function(**{name: value for name, value in values.items() if name not in dropped})

    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.Signature(flat)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return wrapper


def _names(group: Any) -> list[str]:
    return [field.name for field in fields(group)]


def _parameters(group: type) -> list[Parameter]:
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
