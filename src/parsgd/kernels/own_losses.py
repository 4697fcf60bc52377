"""Losses of the user as kernels take them: compiled once for each code, however often the class is defined.

A compiled loss is found by what its methods do: bytecode, constants, and the values of the globals and closures that
they refer to.  So a notebook cell that is run again finds what it compiled before, and a changed method is compiled
anew.  The losses used last are kept, with the kernels compiled for them.
"""

from __future__ import annotations

import re
import types
from collections import OrderedDict
from itertools import count
from typing import Any, NamedTuple

import numba
import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.kernels.compiling import uncached
from parsgd.utils import first_use

# The number of losses whose compiled code is kept; each takes about 10 MB.
MOST_KEPT = 16
_kept: OrderedDict[tuple, type] = OrderedDict()
_numbers = count()
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_NAMES = {
    "NoneType": "None", "UnicodeType": "a str", "UniTuple": "a tuple", "Tuple": "a tuple",
    "Optional": "a number or None", "Complex": "a complex number", "Array": "an array",
}  # fmt: skip


def user_loss(instance: Any) -> Any:
    """Turn a plain object with ``loss(self, y, p)`` and ``gradient(self, y, p)`` into numbers that a kernel can take.

    The object's numeric attributes become the fields of a named tuple that stands in for ``self``.
    """
    attributes = {name: float(value) for name, value in vars(instance).items()}
    return _compiled(type(instance), tuple(attributes))(**attributes)


def kernel_for(kernel: Any, numbers: Any) -> Any:
    """The kernel for a loss of the user, ``numbers`` as :func:`user_loss` gives them; kept as long as the loss is."""
    kernels = type(numbers).kernels
    found = kernels.get(kernel)
    return kernels.setdefault(kernel, uncached(kernel)) if found is None else found


def _compiled(cls: type, names: tuple[str, ...]) -> type:
    key = (cls.__name__, names, fingerprint(cls.loss), fingerprint(cls.gradient))
    with first_use.exclusive():
        made = _kept.get(key)
        if made is None:
            made = _kept[key] = _compile(cls, names)
            while len(_kept) > MOST_KEPT:
                # numba keeps the type for good, but not what was compiled for it
                _kept.popitem(last=False)[1].kernels.clear()
        _kept.move_to_end(key)
    return made


def _compile(cls: type, names: tuple[str, ...]) -> type:
    fields = [(name, float) for name in names] or [("unused", float)]
    # numba tells types apart by their names, and two losses may be called alike
    made = NamedTuple(f"{cls.__name__}Numbers{next(_numbers)}", fields)
    if not names:
        made.__new__.__defaults__ = (0.0,)
    made.value = staticmethod(numba.njit(cls.loss))
    made.slope = staticmethod(numba.njit(cls.gradient))
    made.kernels = {}
    _try(cls, made)
    return made


def _try(cls: type, made: type) -> None:
    """Compile a user's two methods by themselves, so that a mistake is theirs by name and not a kernel's."""
    signature = (numba.typeof(made(*([1.0] * len(made._fields)))), numba.float64, numba.float64)
    for name, method in (("loss", made.value), ("gradient", made.slope)):
        who = f"The 'loss' parameter: {cls.__name__}.{name}(self, y, p)"
        try:
            method.compile(signature)
        except Exception as error:  # numba lets some of Python's own through
            lines = [line.strip() for line in _COLORS.sub("", str(error)).splitlines() if line.strip()]
            reason = next((line for line in lines if not line.startswith("Failed in nopython")), "")
            raise InvalidArgumentError(
                f"{who} cannot be compiled by numba. It may use numbers, numpy's and math's functions, and the object's"
                f" own numeric attributes. Numba says: {reason}"
            ) from error
        found = numba.types.unliteral(method.overloads[signature].signature.return_type)
        if not isinstance(found, (numba.types.Float, numba.types.Integer, numba.types.Boolean)):
            kind = type(found).__name__
            raise InvalidArgumentError(f"{who} must return a number, and returns {_NAMES.get(kind, str(found))}.")


# -- what a function does --------------------------------------------------------------------------------------------


class _Same:
    """A value that is equal to itself only; the key that holds it keeps it alive."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(function: Any) -> Any:
    """What a function does, as a key: equal for the same code with the same constants, globals and closures.

    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1.0)
    False
    """
    return _of_value(function, (), frozenset())


def _of_value(value: Any, names: tuple[str, ...], seen: frozenset[int]) -> Any:
    """``names``: what the code that refers to the value may look up in it, if it is a module."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, repr(value)
    if id(value) in seen:
        return kind, "seen"
    inside = seen | {id(value)}
    if kind in (tuple, frozenset):
        return kind, tuple(_of_value(item, names, inside) for item in value)
    if kind is types.CodeType:
        return _of_code(value, inside)
    function = getattr(value, "py_func", value)
    if isinstance(function, types.FunctionType):
        return _of_function(function, inside)
    if isinstance(value, types.ModuleType):
        found = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return value.__name__, tuple((name, _of_value(item, names, inside)) for name, item in found.items())
    if isinstance(value, np.generic) or isinstance(value, np.ndarray) and value.dtype != object:
        return kind, str(value.dtype), value.shape, value.tobytes()
    return _Same(value)


def _of_code(code: types.CodeType, seen: frozenset[int]) -> Any:
    plain = tuple(_of_value(constant, (), seen) for constant in code.co_consts)
    return code.co_code, plain, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags


def _of_function(function: types.FunctionType, seen: frozenset[int]) -> Any:
    code = function.__code__
    names = _all_names(code)
    outside = {name: function.__globals__[name] for name in names if name in function.__globals__}
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return (
        _of_code(code, seen),
        tuple((name, _of_value(value, names, seen)) for name, value in outside.items()),
        tuple(_of_value(value, names, seen) for value in cells),
        tuple(_of_value(value, names, seen) for value in function.__defaults__ or ()),
    )


def _all_names(code: types.CodeType) -> tuple[str, ...]:
    inner = [name for one in code.co_consts if isinstance(one, types.CodeType) for name in _all_names(one)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def _is_filled(cell: Any) -> bool:
    try:
        return (cell.cell_contents, True)[1]
    except ValueError:
        return False
