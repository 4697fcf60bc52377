"""NumPy's floating-point errors while parsgd computes.

Sums that underflow, exponentials that overflow and logarithms of 0 are part of fits and predictions, and divergence is
found by checks of its own.  What the caller has set with ``numpy.errstate`` or ``numpy.seterr`` holds for the caller's
own numbers.
"""

from __future__ import annotations

import numpy as np


def silent() -> np.errstate:
    """A context, or a decorator, in which NumPy ignores floating-point errors, whatever the caller has set.

    >>> with np.errstate(all="raise"), silent():
    ...     float(np.exp(np.float64(-1e3)))
    0.0
    """
    return np.errstate(all="ignore")
