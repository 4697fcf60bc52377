"""The loss of a batch: from rows to tensors, through the module, to one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parsgd.core import DenseRows, Rows
from parsgd.errors import InvalidArgumentError

Loss = Callable[..., torch.Tensor]


def read_batch(rows: Any, indices: np.ndarray) -> Any:
    """Return a batch of tensors: what the data set collates, or ``(X, y)`` or ``(X, y, weight)`` of numeric rows."""
    if not isinstance(rows, Rows):
        return rows.batch(indices)
    if not isinstance(rows.x, DenseRows):
        raise InvalidArgumentError(
            "Modules read dense rows, and these are sparse. Convert them, or use a torch Dataset."
        )
    X = rows.x.data.reshape(-1, rows.x.n_features)
    parts = [X[indices], rows.y[indices], *([rows.weight[indices]] if len(rows.weight) else [])]
    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


def to_device(batch: Any, device: torch.device) -> Any:
    """Return the batch with all tensors on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(part, device) for part in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(part, device) for part in batch)
    return batch


def call_module(module: torch.nn.Module, inputs: Any) -> Any:
    """Call a module on its inputs: a tuple or list as arguments, a mapping as keywords, else one argument."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, (list, tuple)) else module(inputs)


def batch_loss(module: torch.nn.Module, loss: Loss | None, batch: Any) -> torch.Tensor:
    """Return the mean loss of a batch.

    With a ``loss`` the batch is ``(inputs, target)`` or ``(inputs, target, weight)``, and the result is
    ``loss(output, target)``; with weights, the weighted mean ``sum_i w_i loss_i / sum_i w_i``, for which the loss must
    return a value per example.  Without one the module computes the loss itself: it is its output, or the attribute or
    entry ``loss`` of it.
    """
    if loss is None:
        output = call_module(module, batch)
        if isinstance(output, Mapping) and "loss" in output:
            return output["loss"]
        return getattr(output, "loss", output)
    if not isinstance(batch, (list, tuple)) or len(batch) not in (2, 3):
        got = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
        raise InvalidArgumentError(
            f"With a loss, every batch must be (inputs, target) or (inputs, target, weight). Got a {got}. Let the data"
            " set return such pairs, or pass loss=None and let the module return its loss."
        )
    found = loss(call_module(module, batch[0]), batch[1])
    if len(batch) == 2:
        return found
    weight = batch[2]
    if not isinstance(found, torch.Tensor) or found.shape[:1] != weight.shape:
        raise InvalidArgumentError(
            f"With weights of shape {tuple(weight.shape)} the loss must return a value per example, got shape"
            f" {tuple(getattr(found, 'shape', ()))}. Use a loss with reduction='none'."
        )
    per_example = found.flatten(1).mean(1) if found.ndim > 1 else found
    return (per_example * weight).sum() / weight.sum()


def weight_of(batch: Any, loss: Loss | None, n_examples: int) -> float:
    """Return the weight of a batch among others: the sum of its weights, or its number of examples."""
    if loss is None or not isinstance(batch, (list, tuple)) or len(batch) != 3:
        return float(n_examples)
    return float(batch[2].sum())


def check_loss(loss: Any) -> None:
    """Raise unless the loss is a scalar tensor with a gradient."""
    if not isinstance(loss, torch.Tensor):
        raise InvalidArgumentError(
            f"The loss of a batch must be a scalar tensor, got {type(loss).__name__}. Pass loss=a function of (output,"
            " target), or let the module return its loss."
        )
    if loss.numel() != 1:
        raise InvalidArgumentError(
            f"The loss of a batch must be a scalar tensor, got shape {tuple(loss.shape)}. Take its mean: use a loss"
            " with reduction='mean'."
        )
    if not loss.requires_grad:
        raise InvalidArgumentError(
            "The loss of a batch does not depend on any trained parameter. Remove detach(), torch.no_grad() or item()"
            " from the module and the loss."
        )
