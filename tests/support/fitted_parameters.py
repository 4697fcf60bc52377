"""Parameters of fitted estimators, to compare them."""

import numpy as np

NAMES = ("coef_", "intercept_", "offset_", "coefs_", "intercepts_")


def parameters(model):
    """All that was learned, one after the other."""
    parts = [getattr(model, name) for name in NAMES if hasattr(model, name)]
    return np.concatenate([np.ravel(array) for part in parts for array in (part if isinstance(part, list) else [part])])
