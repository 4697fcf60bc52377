"""User-defined losses, compiled once per code, however often the class is defined.

A compiled loss is looked up by the code of its methods: bytecode, constants, and the values of the globals and closures
to which they refer.  So a notebook cell that is run again reuses the compiled loss, and a changed method is compiled
again.  The most recently used losses are kept, with the kernels compiled for them.
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

# Compiled losses that are kept; each takes about 10 MB.
MAX_COMPILED_LOSSES = 16
_compiled_losses: OrderedDict[tuple, type] = OrderedDict()
_numbers = count()
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_PLAIN_TYPES = (bool, int, float, complex, str, bytes, type(None), type(...))
_NAMES = {
    "NoneType": "None",
    "UnicodeType": "a str",
    "UniTuple": "a tuple",
    "Tuple": "a tuple",
    "Optional": "a number or None",
    "Complex": "a complex number",
    "Array": "an array",
}


def convert_user_loss(instance: Any) -> Any:
    """Convert an object with ``loss(self, y, p)`` and ``gradient(self, y, p)`` into a named tuple of its parameters.

    The object's numeric attributes become the fields of the tuple, which replaces ``self`` in the kernels.
    """
    attributes = {name: float(value) for name, value in vars(instance).items()}
    return _get_compiled(type(instance), tuple(attributes))(**attributes)


def get_kernel(kernel: Any, numbers: Any) -> Any:
    """Return the kernel for a user's loss, given as by :func:`convert_user_loss`; kept as long as the loss."""
    kernels = type(numbers).kernels
    found = kernels.get(kernel)
    return kernels.setdefault(kernel, uncached(kernel)) if found is None else found


def _get_compiled(cls: type, names: tuple[str, ...]) -> type:
    key = (cls.__name__, names, fingerprint(cls.loss), fingerprint(cls.gradient))
    with first_use.exclusive():
        numbers_type = _compiled_losses.get(key)
        if numbers_type is None:
            numbers_type = _compiled_losses[key] = _compile(cls, names)
            while len(_compiled_losses) > MAX_COMPILED_LOSSES:
                # Numba keeps the type forever, but not its compiled code
                _compiled_losses.popitem(last=False)[1].kernels.clear()
        _compiled_losses.move_to_end(key)
    return numbers_type


def _compile(cls: type, names: tuple[str, ...]) -> type:
    fields = [(name, float) for name in names] or [("unused", float)]
    # Numba identifies types by name, and two losses may have the same name
    numbers_type = NamedTuple(f"{cls.__name__}Numbers{next(_numbers)}", fields)
    if not names:
        numbers_type.__new__.__defaults__ = (0.0,)
    numbers_type.value = staticmethod(numba.njit(cls.loss))
    numbers_type.gradient = staticmethod(numba.njit(cls.gradient))
    numbers_type.kernels = {}
    _check_compiles(cls, numbers_type)
    return numbers_type


def _check_compiles(cls: type, numbers_type: type) -> None:
    """Compile a user's methods separately, so that an error names the method and not a kernel."""
    signature = (numba.typeof(numbers_type(*([1.0] * len(numbers_type._fields)))), numba.float64, numba.float64)
    for name, method in (("loss", numbers_type.value), ("gradient", numbers_type.gradient)):
        who = f"The 'loss' parameter: {cls.__name__}.{name}(self, y, p)"
        try:
            method.compile(signature)
        except Exception as error:  # some of Python's own errors pass through Numba
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


# -- fingerprints --------------------------------------------------------------------------------------------------


class _Identity:
    """A value that equals only itself; a key that contains it keeps the value alive."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(function: Any) -> Any:
    """Return a key of a function's code: equal for the same bytecode, constants, globals and closures.

    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1.0)
    False
    """
    return _fingerprint_value(function, (), frozenset())


def _fingerprint_value(value: Any, names: tuple[str, ...], seen: frozenset[int]) -> Any:
    """Return a key of a value; ``names``: attributes that the code may look up in it, if it is a module."""
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return kind, repr(value)
    if id(value) in seen:
        return kind, "seen"
    inside = seen | {id(value)}
    if kind in (tuple, frozenset):
        return kind, tuple(_fingerprint_value(item, names, inside) for item in value)
    if kind is types.CodeType:
        return _fingerprint_code(value, inside)
    function = getattr(value, "py_func", value)
    if isinstance(function, types.FunctionType):
        return _fingerprint_function(function, inside)
    if isinstance(value, types.ModuleType):
        found = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return value.__name__, tuple((name, _fingerprint_value(item, names, inside)) for name, item in found.items())
    if isinstance(value, np.generic) or isinstance(value, np.ndarray) and value.dtype != object:
        return kind, str(value.dtype), value.shape, value.tobytes()
    return _Identity(value)


def _fingerprint_code(code: types.CodeType, seen: frozenset[int]) -> Any:
    plain = tuple(_fingerprint_value(constant, (), seen) for constant in code.co_consts)
    return code.co_code, plain, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags


def _fingerprint_function(function: types.FunctionType, seen: frozenset[int]) -> Any:
    code = function.__code__
    names = _list_names(code)
    outside = {name: function.__globals__[name] for name in names if name in function.__globals__}
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return (
        _fingerprint_code(code, seen),
        tuple((name, _fingerprint_value(value, names, seen)) for name, value in outside.items()),
        tuple(_fingerprint_value(value, names, seen) for value in cells),
        tuple(_fingerprint_value(value, names, seen) for value in function.__defaults__ or ()),
    )


def _list_names(code: types.CodeType) -> tuple[str, ...]:
    inner = [name for one in code.co_consts if isinstance(one, types.CodeType) for name in _list_names(one)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def _is_filled(cell: Any) -> bool:
    try:
        return (cell.cell_contents, True)[1]
    except ValueError:
        return False
