"""State of a worker between its tasks: a copy of the module, its optimizer and schedule, and random states."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from parsgd.core.padded import padded_zeros
from parsgd.models.torch import global_settings
from parsgd.models.torch.batch_loss import batch_loss, read_batch, to_device, weight_of
from parsgd.models.torch.plain_values import from_plain, to_plain

if TYPE_CHECKING:
    from parsgd.models.torch.torch_model import TorchModel


class WorkerSession:
    """A module in training with its optimizer.

    Attributes
    ----------
    last_round : int
        Round of the task after which the session is as it is; -1 before the first.
    states : RandomStates or None
        Random states after the last task; None before the first.
    """

    def __init__(self, model: TorchModel):
        self.model = model
        self.device: torch.device = torch.device(model.device)
        self.module: torch.nn.Module = copy.deepcopy(model.module)
        self.memory: np.ndarray = padded_zeros(model.layout.size, model.layout.dtype)
        self.copied = model.layout.bind(self.module, self.memory)
        self.parameters: list[torch.nn.Parameter] = [p for p in self.module.parameters() if p.requires_grad]
        self.last_round = -1
        self.states: global_settings.RandomStates | None = None
        self.renew_optimizer()

    def renew_optimizer(self) -> None:
        """Begin with a new optimizer and schedule."""
        model = self.model
        self.optimizer: torch.optim.Optimizer = model.optimizer(self.parameters)
        self.scheduler: Any = None if model.scheduler is None else model.scheduler(self.optimizer)

    def reset_moments(self) -> None:
        """Begin with a new optimizer, and continue the schedule."""
        scheduler, rates = self.scheduler, [group["lr"] for group in self.optimizer.param_groups]
        self.renew_optimizer()
        if scheduler is not None:
            self.scheduler.load_state_dict(scheduler.state_dict())
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    # -- the flat state ------------------------------------------------------------------------------------------------

    def load(self, state: np.ndarray) -> None:
        """Set all tensors to the values of a state."""
        self.memory[:] = state
        vector = torch.from_numpy(self.memory)
        with torch.no_grad():
            for slot, tensor in self.copied:
                values = vector[slot.start : slot.stop].view(tensor.shape)
                tensor.copy_(values if tensor.is_floating_point() else values.round())

    def store(self, out: np.ndarray) -> None:
        """Write all tensors to a state."""
        self._read_copied()
        out[:] = self.memory

    def _read_copied(self) -> None:
        vector = torch.from_numpy(self.memory)
        for slot, tensor in self.copied:
            vector[slot.start : slot.stop].copy_(tensor.detach().reshape(-1))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def read(self, rows: Any, indices: np.ndarray) -> tuple[Any, float]:
        """Return a batch on the device, and its weight."""
        batch = to_device(read_batch(rows, indices), self.device)
        return batch, weight_of(batch, self.model.loss, len(indices))

    def add_gradient(self, batch: Any, factor: float) -> float:
        """Add ``factor`` times the gradient of a batch's mean loss to the gradients; return the mean loss."""
        kind = self.model.autocast
        with torch.autocast(self.device.type, dtype=kind and getattr(torch, kind), enabled=kind is not None):
            loss = batch_loss(self.module, self.model.loss, batch)
        (loss if factor == 1.0 else loss * factor).backward()
        return float(loss.detach())

    def step(self, lr_scale: float) -> None:
        """Make the optimizer's step along the gradients at ``lr_scale`` times its rates, and clear the gradients."""
        if self.model.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.model.clip_norm)
        groups = self.optimizer.param_groups if lr_scale != 1.0 else []
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * lr_scale
        self.optimizer.step()
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        if self.scheduler is not None and self.model.scheduler_interval == "step":
            self.scheduler.step()

    def end_epoch(self) -> None:
        """Advance a schedule that counts epochs."""
        if self.scheduler is not None and self.model.scheduler_interval == "epoch":
            self.scheduler.step()

    # -- the optimizer's state -----------------------------------------------------------------------------------------

    def optimizer_state(self) -> dict[str, Any]:
        """Return the state of optimizer and schedule in plain values."""
        schedule = None if self.scheduler is None else to_plain(self.scheduler.state_dict(), "the scheduler's state")
        return {"optimizer": to_plain(self.optimizer.state_dict(), "the optimizer's state"), "scheduler": schedule}

    def set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`optimizer_state` returned."""
        self.renew_optimizer()
        self.optimizer.load_state_dict(from_plain(state["optimizer"]))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(from_plain(state["scheduler"]))
