"""Generators and seeds from scikit-learn's ``random_state``.

NumPy reads the system's entropy for every new generator, seeded or not.  That releases the interpreter's lock, which a
busy thread then holds for some 5 ms.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

_MAX_SEED = np.iinfo(np.int32).max


def make_generator(random_state: Any) -> np.random.RandomState:
    """Return what :func:`sklearn.utils.check_random_state` returns; an integer needs no entropy of the system.

    >>> int(make_generator(7).randint(100))
    47
    """
    if not isinstance(random_state, Integral):
        return check_random_state(random_state)
    generator = np.random.RandomState(np.random.MT19937(0))
    generator.seed(int(random_state))
    return generator


def draw_seed(random_state: Any, before: int = 0, after: int = 0) -> int:
    """Draw the seed of a fit's row order between other draws, so that a generator advances as in scikit-learn.

    >>> draw_seed(7) == draw_seed(7, after=1) != draw_seed(7, before=1)
    True
    """
    if isinstance(random_state, Integral):
        return _seed_of(int(random_state), before)
    return _draw(check_random_state(random_state), before, after)


@lru_cache(maxsize=64)
def _seed_of(number: int, before: int) -> int:
    """Return the seed for an integer ``random_state``, drawn once for many small ``partial_fit`` calls."""
    return _draw(make_generator(number), before, 0)


def _draw(generator: np.random.RandomState, before: int, after: int) -> int:
    for _ in range(before):
        generator.randint(1, _MAX_SEED)
    seed = int(generator.randint(_MAX_SEED))
    for _ in range(after):
        generator.randint(1, _MAX_SEED)
    return seed
