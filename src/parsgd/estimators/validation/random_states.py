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

MAX_SEED = np.iinfo(np.int32).max


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


def skip_draws(random_state: Any, n: int) -> None:
    """Advance a generator by ``n`` draws; an integer stands for a new generator at every use."""
    if isinstance(random_state, Integral):
        return
    generator = check_random_state(random_state)
    for _ in range(n):
        generator.randint(1, MAX_SEED)


def draw_seed(random_state: Any, skipped: int = 0) -> int:
    """Draw the seed of a fit's row order; of an integer's new generator, after ``skipped`` other draws.

    >>> draw_seed(7) == draw_seed(7) != draw_seed(7, skipped=1)
    True
    """
    if isinstance(random_state, Integral):
        return _seed_of(int(random_state), skipped)
    return int(check_random_state(random_state).randint(MAX_SEED))


@lru_cache(maxsize=64)
def _seed_of(number: int, skipped: int) -> int:
    """Return the seed for an integer ``random_state``, drawn once for many small ``partial_fit`` calls."""
    generator = make_generator(number)
    skip_draws(generator, skipped)
    return int(generator.randint(MAX_SEED))
