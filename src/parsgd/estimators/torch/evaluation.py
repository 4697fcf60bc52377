"""Mean loss of a module on data."""

from __future__ import annotations

from collections.abc import Callable

import torch

from parsgd.estimators.torch.torch_input import TorchInput
from parsgd.models.torch import generator_states
from parsgd.models.torch.batch_loss import batch_loss, to_device


def mean_loss(
    module: torch.nn.Module, loss: Callable[..., torch.Tensor] | None, data: TorchInput, device: torch.device
) -> float:
    """Return the mean loss over all examples, in evaluation mode and without change to module and random states."""
    total, n_examples, training = 0.0, 0, module.training
    module.eval()
    try:
        with torch.no_grad(), generator_states.preserved(device):
            for n, batch in data.batches():
                total += float(batch_loss(module, loss, to_device(batch, device)).mean()) * n
                n_examples += n
    finally:
        module.train(training)
    return total / max(n_examples, 1)
