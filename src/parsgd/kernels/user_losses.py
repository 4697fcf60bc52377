"""Users' and registered losses, compiled once per code, however often the class is defined.

A compiled loss is looked up by the code of its methods: bytecode, constants, and the values of the globals and closures
to which they refer.  So a notebook cell that is run again reuses the compiled loss, and a changed method is compiled
again.  The most recently used losses are kept, with the kernels compiled for them.
"""

from __future__ import annotations

import functools
import re
import types
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, NamedTuple, Protocol

import numba
import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.kernels.losses import UserLoss
from parsgd.kernels.lowlevel.compiling import uncached
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


class Numbers(Protocol):
    """A named tuple of a loss's numbers, whose type has the compiled ``formula`` and the ``kernels`` with it."""

    kernels: ClassVar[dict[Any, Any]]


def convert_user_loss(instance: UserLoss) -> Numbers:
    """Convert a user's loss into a named tuple of its parameters.

    The object's numeric attributes become the fields of the tuple, which replaces ``self`` in the kernels.
    """
    cls, attributes = type(instance), {name: float(value) for name, value in vars(instance).items()}
    key = (cls.__name__, tuple(attributes), fingerprint(cls.loss), fingerprint(cls.gradient))
    return _get_compiled(key, functools.partial(_compile, cls, tuple(attributes)))(**attributes)


def convert_formula(name: str, formula: Callable[..., tuple[float, float, float]], parameter: float) -> Numbers:
    """Convert the formula of a registered loss, and its parameter, like a user's loss."""
    make = functools.partial(_compile_formula, name, formula)
    return _get_compiled((name, fingerprint(formula)), make)(parameter=parameter)


def get_kernel(kernel: Any, numbers: Numbers) -> Any:
    """Return the kernel for a loss, given as by :func:`convert_user_loss`; kept as long as the loss."""
    kernels = type(numbers).kernels
    found = kernels.get(kernel)
    return kernels.setdefault(kernel, uncached(kernel)) if found is None else found


def _get_compiled(key: tuple[Any, ...], make: Callable[[], type]) -> type:
    with first_use.exclusive():
        numbers_type = _compiled_losses.get(key)
        if numbers_type is None:
            numbers_type = _compiled_losses[key] = make()
            while len(_compiled_losses) > MAX_COMPILED_LOSSES:
                # Numba keeps the type forever, but not its compiled code
                _compiled_losses.popitem(last=False)[1].kernels.clear()
        _compiled_losses.move_to_end(key)
    return numbers_type


def _numbers_type(name: str, names: tuple[str, ...]) -> Any:
    """Return a new type of named tuples, which identifies the loss in Numba's types."""
    # Numba identifies types by name, and two losses may have the same name
    numbers_type: Any = NamedTuple(f"{name}Numbers{next(_numbers)}", [(name, float) for name in names])
    numbers_type.kernels = {}
    return numbers_type


def _compile(cls: type, names: tuple[str, ...]) -> type:
    numbers_type = _numbers_type(cls.__name__, names or ("unused",))
    if not names:
        numbers_type.__new__.__defaults__ = (0.0,)
    value, gradient = numba.njit(cls.loss), numba.njit(cls.gradient)
    _check_compiles(cls, numbers_type, value, gradient)

    @numba.njit
    def formula(loss, y, p):
        # times 1.0: a user's functions may return ints
        return 1.0 * gradient(loss, y, p), 1.0 * value(loss, y, p), 1.0

    numbers_type.formula = staticmethod(formula)
    return numbers_type


def _compile_formula(name: str, given: Callable[..., tuple[float, float, float]]) -> type:
    numbers_type, compiled = _numbers_type("Formula", ("parameter",)), numba.njit(given)
    _compile_or_explain(f"The formula of the loss {name!r}", compiled, (numba.float64,) * 3)

    @numba.njit
    def formula(loss, y, p):
        return compiled(loss.parameter, y, p)

    numbers_type.formula = staticmethod(formula)
    return numbers_type


def _compile_or_explain(who: str, function: Any, signature: tuple[Any, ...]) -> None:
    """Compile a user's function; an error names it."""
    try:
        function.compile(signature)
    except Exception as error:  # some of Python's own errors pass through Numba
        lines = [line.strip() for line in _COLORS.sub("", str(error)).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.startswith("Failed in nopython")), "")
        raise InvalidArgumentError(
            f"{who} cannot be compiled by numba. It may use numbers, numpy's and math's functions, and the object's"
            f" own numeric attributes. Numba says: {reason}"
        ) from error


def _check_compiles(cls: type, numbers_type: Any, value: Any, gradient: Any) -> None:
    """Compile a user's methods separately, so that an error names the method and not a kernel."""
    signature = (numba.typeof(numbers_type(*([1.0] * len(numbers_type._fields)))), numba.float64, numba.float64)
    for name, method in (("loss", value), ("gradient", gradient)):
        who = f"The 'loss' parameter: {cls.__name__}.{name}(self, y, p)"
        _compile_or_explain(who, method, signature)
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
