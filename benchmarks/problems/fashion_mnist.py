"""Fashion-MNIST: 60,000 pictures of 784 grey values to train on, 10,000 to test, ten classes."""

from __future__ import annotations

import numpy as np

from benchmarks.options import Options
from benchmarks.problems.network_rows import network_rows


def fashion_mnist(options: Options) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """`X_train, X_test, y_train, y_test` in float32; None without data.

    In a quick run these are a few generated rows in the same shape.
    """
    if options.quick:
        X, y = network_rows(1_500, 784, 10)
        return X[:1_000], X[1_000:], y[:1_000], y[1_000:]
    if options.data is None:
        return None
    from studies import datasets

    return datasets.fashion_mnist(options.data)
