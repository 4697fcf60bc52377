"""Errors that a user's loss raises during a fit, extended by the name of the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import product

import numpy as np

from parsgd.errors import DivergedError, InvalidArgumentError, ParsgdError
from parsgd.models.linear.linear_model import Linear

# Predictions at which a loss is evaluated after a fit diverged.
_TEST_VALUES = (-1.0, 0.0, 1.0)


@contextlib.contextmanager
def name_user_loss(model: Linear) -> Iterator[None]:
    """Name the user's loss in an error that it caused; built-in losses cause none."""
    try:
        yield
    except DivergedError as error:
        invalid_call = _find_invalid_call(model) if model.described_loss.is_compiled_separately else None
        if invalid_call is None:
            raise
        raise InvalidArgumentError(
            f"The 'loss' parameter: {model.described_loss.name}.{invalid_call}; it must return a finite number for"
            " every target y and every prediction p."
        ) from error
    except ParsgdError:
        raise
    except Exception as error:
        if model.described_loss.is_compiled_separately:
            error.add_note(f"The loss of this fit is {model.described_loss.name}, whose code may have raised it.")
        raise


def _find_invalid_call(model: Linear) -> str | None:
    """Describe a call of the loss that returns NaN or infinity, or return None."""
    for y, p in product((-1.0, 1.0), _TEST_VALUES):
        try:
            value, gradient = model.losses(np.full((1, model.n_outputs), p), np.array([y]))
        except Exception:
            return None
        for name, number in (("loss", value.flat[0]), ("gradient", gradient.flat[0])):
            if not np.isfinite(number):
                if model.described_loss.user is None:
                    return f"formula(parameter, y={y}, p={p}) gave the {name} {number}"
                return f"{name}(self, y={y}, p={p}) returned {number}"
    return None
