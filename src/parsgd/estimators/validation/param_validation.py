"""Checks of constructor arguments before any work starts, with scikit-learn's messages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError, choose

# Immutable types: a check of such a value stays valid.
_IMMUTABLE = frozenset({str, int, float, bool, type(None)})
# Checked arguments, with their types: 1, 1.0 and True are equal.
_checked: set[tuple] = set()
_MAX_CACHED = 1000


def store_arguments(estimator: Any, arguments: Mapping[str, Any]) -> None:
    """Set an attribute per argument of a constructor, whose ``locals()`` are ``arguments``."""
    for name in _argument_names(type(estimator)):
        if name in arguments:
            setattr(estimator, name, arguments[name])


def checked_once(method: Callable[..., None]) -> Callable[..., None]:
    """Cache a method that checks the constructor's arguments: it runs once for equal values.

    Mutable arguments (a list of sizes, an object with attributes) are checked every time.
    """

    @functools.wraps(method)
    def check_arguments(self: Any, *arguments: Any) -> None:
        values = tuple(getattr(self, name) for name in _argument_names(type(self)))
        types = tuple(map(type, values))
        immutable = _IMMUTABLE.issuperset(types)
        key = (type(self), arguments, values, types)
        if immutable and key in _checked:
            return
        method(self, *arguments)
        if immutable:
            if len(_checked) >= _MAX_CACHED:
                _checked.clear()
            _checked.add(key)

    return check_arguments


@functools.cache
def _argument_names(kind: type) -> tuple[str, ...]:
    return tuple(kind._get_param_names())


def is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and not np.isnan(value)


def is_integral(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))


def check(estimator: Any, name: str, accepts: Callable[[Any], bool], expected: str) -> None:
    """Raise unless the parameter's value is accepted; the message names estimator, expectation and value."""
    value = getattr(estimator, name)
    if not accepts(value):
        raise InvalidArgumentError(
            f"The {name!r} parameter of {type(estimator).__name__} must be {expected}. Got {value!r} instead."
        )


def check_number(
    estimator: Any,
    name: str,
    low: float,
    high: float = np.inf,
    *,
    closed: str = "left",
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Check a number in an interval.

    ``closed`` is "left", "right", "both" or "neither"; ``optional`` also allows None.
    """
    left, right = "[" if closed in ("left", "both") else "(", "]" if closed in ("right", "both") else ")"
    kind = is_integral if whole else is_real

    def accepts(value: Any) -> bool:
        if value is None:
            return optional
        if not kind(value):
            return False
        above = value >= low if left == "[" else value > low
        below = value <= high if right == "]" else value < high
        return above and below

    expected = f"{'an int' if whole else 'a float'} in the range {left}{low}, {high}{right}"
    check(estimator, name, accepts, expected + (" or None" if optional else ""))


def check_flag(estimator: Any, name: str) -> None:
    check(estimator, name, lambda value: isinstance(value, (bool, np.bool_)), "a bool")


def check_verbose(estimator: Any) -> None:
    def accepts(value: Any) -> bool:
        return isinstance(value, (bool, np.bool_)) or is_integral(value) and value >= 0

    check(estimator, "verbose", accepts, "an int in the range [0, inf) or a bool")


def check_random_state(estimator: Any) -> None:
    """Check that ``random_state`` seeds a generator, is one, or is None."""

    def accepts(value: Any) -> bool:
        if isinstance(value, Integral):
            return 0 <= value < 2**32
        return value is None or value is np.random or isinstance(value, np.random.RandomState)

    expected = "an int in the range [0, 4294967295], an instance of numpy.random.RandomState or None"
    check(estimator, "random_state", accepts, expected)


def check_pair(X_val: Any, y_val: Any) -> None:
    """Check that ``X_val`` and ``y_val`` are both given, or neither."""
    if (X_val is None) != (y_val is None):
        raise InvalidArgumentError("X_val and y_val must be given together; only one of them was given.")


def check_choice(estimator: Any, name: str, allowed: Iterable[str | None]) -> None:
    """Check that the value is one of the allowed names, which may include None."""
    allowed = list(allowed)
    value = getattr(estimator, name)
    if value is None and None in allowed:
        return
    choose(value, [a for a in allowed if a is not None], name, type(estimator).__name__)


def check_loss(estimator: Any, allowed: Iterable[str]) -> None:
    """Check that the loss is a name, or an object with ``loss``, ``gradient`` and numeric attributes only."""
    loss = estimator.loss
    who = type(estimator).__name__
    if isinstance(loss, str) or not (hasattr(loss, "loss") and hasattr(loss, "gradient")):
        choose(loss, allowed, "loss", who)
        return
    if isinstance(loss, type):
        raise InvalidArgumentError(
            f"The 'loss' parameter of {who} must be an instance, not the class {loss.__name__}; call it."
        )
    bad = {name: value for name, value in vars(loss).items() if not is_real(value)}
    if bad:
        raise InvalidArgumentError(
            f"The 'loss' parameter of {who} may have numeric attributes only, because it is compiled;"
            f" {type(loss).__name__} has {bad}."
        )
