"""Errors of a user's loss while a fit runs: they name the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import product

import numpy as np

from parsgd.errors import DivergedError, InvalidArgumentError, ParsgdError
from parsgd.models.linear.linear_model import Linear

# Targets and predictions at which a loss is tried after a fit diverged.
_TRIED = (-1.0, 0.0, 1.0)


@contextlib.contextmanager
def explained(model: Linear) -> Iterator[None]:
    """Name the user's loss in the error that it caused; other losses cause none."""
    try:
        yield
    except DivergedError as error:
        found = None if isinstance(model.loss, str) else _invalid(model)
        if found is None:
            raise
        raise InvalidArgumentError(
            f"The 'loss' parameter: {type(model.loss).__name__}.{found}; it must return a finite number for every"
            " target y and every prediction p."
        ) from error
    except ParsgdError:
        raise
    except Exception as error:
        if not isinstance(model.loss, str):
            error.add_note(f"The loss of this fit is {type(model.loss).__name__}, whose methods may have raised it.")
        raise


def _invalid(model: Linear) -> str | None:
    """The call of the loss that returns NaN or infinity, as a sentence, or None."""
    for y, p in product((-1.0, 1.0), _TRIED):
        try:
            value, gradient = model.losses(np.full((1, model.n_outputs), p), np.array([y]))
        except Exception:
            return None
        for name, number in (("loss", value.flat[0]), ("gradient", gradient.flat[0])):
            if not np.isfinite(number):
                return f"{name}(self, y={y}, p={p}) returned {number}"
    return None
