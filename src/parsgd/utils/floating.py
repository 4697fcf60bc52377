"""NumPy's floating-point errors during computations of parsgd.

Fits and predictions may underflow in sums, overflow in exponentials and take logarithms of 0; separate checks detect
divergence.  The caller's ``numpy.errstate`` and ``numpy.seterr`` apply only to the caller's computations.
"""

from __future__ import annotations

import numpy as np


def silent() -> np.errstate:
    """Return a context or decorator in which NumPy ignores floating-point errors, regardless of the caller's settings.

    >>> with np.errstate(all="raise"), silent():
    ...     float(np.exp(np.float64(-1e3)))
    0.0
    """
    return np.errstate(all="ignore")
