"""Arrays of rows as tensors of the type that a module reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from parsgd.errors import InvalidArgumentError

INPUT_TYPES = ("float32", "float64", "int64")


def parameter_type(module: torch.nn.Module) -> torch.dtype:
    """Return the type of the first floating-point parameter of a module, float32 if it has none."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def input_type_of(module: torch.nn.Module, input_type: str | None) -> torch.dtype:
    """Return the type of a module's inputs: the given one, or that of its parameters."""
    return parameter_type(module) if input_type is None else getattr(torch, input_type)


def tensor_of(values: np.ndarray, dtype: torch.dtype, argument: str = "X") -> torch.Tensor:
    """Return numbers as a contiguous tensor of the type; no copy is made if none is needed.

    Raises
    ------
    InvalidArgumentError
        For values that the type cannot hold: fractions as int64, and numbers that float32 makes infinite.

    >>> tensor_of(np.array([1, 2]), torch.float32)
    tensor([1., 2.])
    """
    kind: Any = {torch.float64: np.float64, torch.int64: np.int64}.get(dtype, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.require(values, kind, ["C", "W"])
    if kind is np.int64 and values.dtype.kind == "f" and not np.array_equal(array, values):
        raise InvalidArgumentError(
            f"{argument} must hold whole numbers, because input_type is 'int64', and it has fractions. Use"
            " input_type=None."
        )
    if kind is np.float32 and values.dtype.kind == "f" and values.dtype.itemsize > 4 and not np.isfinite(array).all():
        raise InvalidArgumentError(
            f"{argument} has values that are too large for float32, the type of the module's parameters. Scale them, or"
            " use a module of float64."
        )
    return torch.from_numpy(array).to(dtype)


def as_array(X: Any) -> Any:
    """Return a tensor as an array, and anything else unchanged."""
    return X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else X
