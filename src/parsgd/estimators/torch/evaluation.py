"""Mean loss of a module on data."""

from __future__ import annotations

from collections.abc import Callable

import torch

from parsgd.estimators.torch.torch_input import TorchInput
from parsgd.models.torch import global_settings
from parsgd.models.torch.batch_loss import batch_loss, to_device, weight_of


def mean_loss(
    module: torch.nn.Module, loss: Callable[..., torch.Tensor] | None, data: TorchInput, device: torch.device
) -> float:
    """Return the mean loss over all examples, or the weighted mean if they have weights.

    The module is in evaluation mode meanwhile.  Module and random generators do not change.
    """
    total, weights, training = 0.0, 0.0, module.training
    module.eval()
    try:
        with torch.no_grad(), global_settings.preserved(device):
            for n, batch in data.batches():
                weight = weight_of(batch, loss, n)
                if weight > 0.0:
                    total += float(batch_loss(module, loss, to_device(batch, device)).mean()) * weight
                    weights += weight
    finally:
        module.train(training)
    return total / weights if weights > 0.0 else 0.0
