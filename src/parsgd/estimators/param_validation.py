"""Checks of constructor arguments, in scikit-learn's words, all before any work starts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError, choose

# Values that stay what they are, so that a check of them stays true.
_CONSTANT = frozenset({str, int, float, bool, type(None)})


# Arguments that were found right, with their types: 1, 1.0 and True are equal.
_checked: set[tuple] = set()
_MOST_REMEMBERED = 1000


def checked_once(method: Callable) -> Callable:
    """A method that checks the constructor's arguments, called once for the same values.

    Arguments that can change in place (a list of sizes, an object with attributes) are checked each time.
    """

    @functools.wraps(method)
    def check_arguments(self: Any, *arguments: Any) -> None:
        values = tuple(getattr(self, name) for name in _argument_names(type(self)))
        types = tuple(map(type, values))
        constant = _CONSTANT.issuperset(types)
        key = (type(self), arguments, values, types)
        if constant and key in _checked:
            return
        method(self, *arguments)
        if constant:
            if len(_checked) >= _MOST_REMEMBERED:
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
    """Raise unless the parameter's value is accepted; names who, what was expected and what came."""
    value = getattr(estimator, name)
    if not accepts(value):
        raise InvalidArgumentError(
            f"The {name!r} parameter of {type(estimator).__name__} must be {expected}. Got {value!r} instead."
        )


def check_number(
    estimator: Any, name: str, low: float, high: float = np.inf, *, closed: str = "left", whole: bool = False,
    optional: bool = False,
) -> None:  # fmt: skip
    """A number in an interval; ``closed`` is "left", "right", "both" or "neither"; ``optional`` also allows None."""
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


def check_choice(estimator: Any, name: str, allowed: Iterable[str | None]) -> None:
    """One of the allowed names, or None where that is among them."""
    allowed = list(allowed)
    value = getattr(estimator, name)
    if value is None and None in allowed:
        return
    choose(value, [a for a in allowed if a is not None], name, type(estimator).__name__)


def check_loss(estimator: Any, allowed: Iterable[str]) -> None:
    """A name, or an object with ``loss`` and ``gradient`` and nothing but numbers in it."""
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
            f"The 'loss' parameter of {who} must hold numbers only, because it is compiled;"
            f" {type(loss).__name__} has {bad}."
        )
