"""Probe rows of a module: its outputs are the decisions, and its loss compares them with the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from parsgd.core import DenseRows, Rows
from parsgd.models.torch import global_settings
from parsgd.models.torch.batch_loss import Loss, call_module, to_device


def has_decisions(output: Any, loss: Loss | None, batch: Any) -> bool:
    """Return True if probe rows can judge a module: it has one output per row, a loss, and targets without weights."""
    is_pair = isinstance(batch, (list, tuple)) and len(batch) == 2
    if loss is None or not is_pair or not isinstance(output, torch.Tensor) or not isinstance(batch[1], torch.Tensor):
        return False
    return output.ndim > 0 and batch[1].ndim > 0 and len(output) == len(batch[1])


def decisions(module: torch.nn.Module, inputs: Any, device: torch.device) -> np.ndarray:
    """Return the outputs of a module in evaluation mode for all rows at once, ``(n_rows, n_outputs)``."""
    if isinstance(inputs, DenseRows):
        inputs = torch.from_numpy(np.array(inputs.data.reshape(-1, inputs.n_features)))
    module.eval()
    with torch.no_grad(), global_settings.preserved(device):
        output = call_module(module, to_device(inputs, device)).cpu()
    module.train()
    return output.reshape(len(output), -1).double().numpy()


def mean_loss(
    loss: Loss, decision: np.ndarray, shape: tuple[int, ...], rows: Rows, device: torch.device
) -> tuple[float, np.ndarray]:
    """Return the loss of decisions, as outputs of ``shape`` per row, and its gradient in them."""
    values = torch.from_numpy(np.array(decision)).to(device).requires_grad_()
    found = loss(values.reshape(len(decision), *shape), _target(rows.y).to(device))
    (gradient,) = torch.autograd.grad(found, values)
    return float(found.detach()), gradient.cpu().numpy()


def _target(y: np.ndarray) -> torch.Tensor:
    target = torch.from_numpy(np.array(y))
    return target.double() if target.is_floating_point() else target
