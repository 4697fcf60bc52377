"""Forward pass in NumPy: activations, predictions and losses, each as one function.

The compiled steps (`activations.py`, `outputs.py` in `kernels/network`) compute the same one batch at a time. These
functions serve prediction, L-BFGS, and as the reference in tests of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, xlogy

from parsgd.kernels.linear.hyperparams import NEGLIGIBLE

# Rows per block in prediction and full gradients.
BLOCK_ROWS = 8192
# Products of weights that take as long as one value of the input.
_PRODUCTS_PER_VALUE = 64.0
LEAK = 0.01
GELU_RATE, GELU_CUBE = 2.0 * np.sqrt(2.0 / np.pi), 0.044715


def _gelu_gate(z: np.ndarray) -> np.ndarray:
    return expit((GELU_RATE * (z + GELU_CUBE * z**3)).astype(z.dtype))


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    gate = _gelu_gate(z)
    return (gate + z * gate * (1 - gate) * GELU_RATE * (1 + 3 * GELU_CUBE * z**2)).astype(z.dtype)


def _logistic_slope(z: np.ndarray) -> np.ndarray:
    p = expit(z)
    return p * (1 - p)


def _identity(z: np.ndarray) -> np.ndarray:
    return z


def _relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


def _gelu(z: np.ndarray) -> np.ndarray:
    return z * _gelu_gate(z)


def _leaky_relu(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z, z.dtype.type(LEAK) * z)


def _tanh_slope(z: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(z) ** 2


def _relu_slope(z: np.ndarray) -> np.ndarray:
    return (z > 0).astype(z.dtype)


def _leaky_relu_slope(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(z > 0, z.dtype.type(1), z.dtype.type(LEAK)), dtype=z.dtype)


Function = Callable[[np.ndarray], np.ndarray]
ACTIVATIONS: dict[str, Function] = {
    "identity": _identity,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": _relu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
}
DERIVATIVES: dict[str, Function] = {
    "identity": np.ones_like,
    "logistic": _logistic_slope,
    "tanh": _tanh_slope,
    "relu": _relu_slope,
    "gelu": _gelu_slope,
    "leaky_relu": _leaky_relu_slope,
}


def softmax(z: np.ndarray) -> np.ndarray:
    """Compute ``e^z_k / sum_j e^z_j`` for each row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def propagate(
    x: Any,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    activation: str,
    prediction: str | None = None,
) -> np.ndarray:
    """Pass the rows ``x`` through all layers.

    Returns the products of the last layer ``(n_rows, n_out)``, or with ``prediction`` its predictions. Rows are
    processed in blocks, so the memory for hidden layers does not grow with their number.
    """
    out = np.empty((x.shape[0], coefs[-1].shape[1]), dtype=np.result_type(coefs[0].dtype, x.dtype))
    for begin in range(0, x.shape[0], BLOCK_ROWS):
        part = slice(begin, begin + BLOCK_ROWS)
        # SciPy copies rows that it selects
        value = x[part] if x.shape[0] > BLOCK_ROWS else x
        for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            value = np.asarray((ACTIVATIONS[activation](value) if layer else value) @ coef) + intercept
        out[part] = LOSSES[prediction].predict(value) if prediction else value
    return out


def work_per_row(coefs: Sequence[np.ndarray]) -> float:
    """Return the work of a forward pass per row, in units of reading and checking a stored value of the input."""
    return sum(coef.size / _PRODUCTS_PER_VALUE + 2.0 * coef.shape[1] for coef in coefs)


# -- losses: values and errors -----------------------------------------------------------------------------------------


def _softmax_loss(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    rows, peak = np.arange(len(y)), z.max(axis=1, keepdims=True)
    # as in the compiled steps
    error = np.where(z - peak < -NEGLIGIBLE, 0.0, np.exp(z - peak)).astype(z.dtype, copy=False)
    total = error.sum(axis=1, keepdims=True)
    error /= total
    error[rows, y] -= 1
    return (np.log(total) + peak)[:, 0] - z[rows, y], error


def _sigmoid_loss(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    # log(1 + e^z) - y z, without overflow
    return (np.logaddexp(0, z) - y * z).sum(axis=1), expit(z) - y


def _squared_error(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    return 0.5 * ((z - y) ** 2).sum(axis=1), z - y


def _absolute_error(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(z - y).sum(axis=1), np.sign(z - y)


def _huber(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    size = np.abs(z - y)
    value = np.where(size <= parameter, 0.5 * size**2, parameter * (size - 0.5 * parameter))
    return value.sum(axis=1), np.clip(z - y, -parameter, parameter)


def _poisson(z: np.ndarray, y: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(z)
    return (xlogy(y, y) - y * z - y + p).sum(axis=1), p - y


@dataclass(frozen=True)
class OutputLoss:
    """A loss of networks, together with the prediction of the last layer.

    Attributes
    ----------
    code : int
        Number of the compiled form in `kernels/network/outputs.py`.
    evaluate : callable
        ``(z, y, parameter) -> (losses, errors)`` at the products ``z (n_rows, n_out)`` of the last layer: losses
        ``(n_rows,)``, and errors ``(n_rows, n_out)``, their derivatives in ``z``.
    serves : str
        Estimator that accepts it: ``"classifier"`` or ``"regressor"``.
    predict : callable
        Predictions at ``z``.
    activation : str
        scikit-learn's name of ``predict``.
    onnx : str or None
        ONNX operator of ``predict``; None: the identity.
    averaged : bool
        Reported losses are means over outputs, as in scikit-learn, and steps follow the gradient of the sum.
    nonnegative_targets : bool
        Targets below 0 are refused.
    to_sklearn : str or None
        scikit-learn's loss with the same predictions; None: it has this one.
    """

    code: int
    evaluate: Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
    serves: str = "regressor"
    predict: Function = _identity
    activation: str = "identity"
    onnx: str | None = None
    averaged: bool = False
    nonnegative_targets: bool = False
    to_sklearn: str | None = None


LOSSES = {
    "softmax": OutputLoss(0, _softmax_loss, "classifier", softmax, "softmax", "Softmax"),
    "sigmoid": OutputLoss(1, _sigmoid_loss, "classifier", expit, "logistic", "Sigmoid"),
    "squared_error": OutputLoss(2, _squared_error, averaged=True),
    "poisson": OutputLoss(5, _poisson, predict=np.exp, activation="exp", onnx="Exp", nonnegative_targets=True),
    "absolute_error": OutputLoss(3, _absolute_error, averaged=True, to_sklearn="squared_error"),
    "huber": OutputLoss(4, _huber, averaged=True, to_sklearn="squared_error"),
}
