"""Normal random rows whose classes follow a linear rule: float32 `(n_rows, n_inputs)`, any number of classes."""

from __future__ import annotations

import numpy as np


def network_rows(n_rows: int, n_inputs: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_inputs), dtype=np.float32)
    return X, (X @ rng.standard_normal((n_inputs, n_classes), dtype=np.float32)).argmax(axis=1)
