"""Any PyTorch module as a model: its tensors are the state, and its optimizer makes the steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from parsgd.core import PlainModel, Rows, Task, Totals
from parsgd.models.torch import global_settings, probe_rows
from parsgd.models.torch.batch_loss import Loss
from parsgd.models.torch.flat_layout import FlatLayout
from parsgd.models.torch.torch_run import TorchRun
from parsgd.models.torch.worker_session import WorkerSession

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
_DIVERGED = (
    "The training of the module diverged in epoch {epoch}: {what}. Use a smaller learning rate, clip_norm, or scaled"
    " inputs."
)

_CAPABILITIES = frozenset({"worker_state", "gradients", "optimizer_state"})
_UNAVAILABLE = {
    "averaging": "probe rows need a loss of (output, target), one output tensor, and targets without weights",
    "shared_steps": "modules do not train on shared arrays",
    "features": "merges per coordinate are for linear models and networks",
}


@dataclass(frozen=True, eq=False)
class TorchModel(PlainModel):
    """A module, its loss, and how its optimizer is made.

    Parameters
    ----------
    module : torch.nn.Module
        The module in training mode, to which nobody else has access; every worker trains a copy.
    loss : callable or None
        Mean loss of a batch from output and target; None if the module returns it
        (:func:`~parsgd.models.torch.batch_loss.batch_loss`).
    optimizer : callable
        Makes an optimizer from a list of parameters.
    layout : FlatLayout
        Places of the tensors in the state.
    batch_size, micro_batch_size : int
        Examples per step, and per backward pass (gradient accumulation).
    scheduler : callable or None
        Makes a learning-rate scheduler from an optimizer.
    scheduler_interval : {"step", "epoch"}
        When the scheduler advances.
    clip_norm : float or None
        Largest norm of the gradient of a step.
    autocast : str or None
        Type of ``torch.autocast``, such as ``"bfloat16"``.
    device : str
        Device of the workers.
    n_threads : int
        Threads of PyTorch within each worker.
    output_shape : tuple of int or None
        Shape of the module's output per row, if probe rows can judge it (:mod:`~parsgd.models.torch.probe_rows`).
    count_tokens : callable or None
        Returns the number of tokens in a batch, for the merge rule ``"tokens"``.
    keeps_optimizer : bool
        True if a worker's optimizer continues from round to round.  False: every round begins with a new one, and the
        schedule continues.
    """

    module: torch.nn.Module
    loss: Loss | None
    optimizer: OptimizerFactory
    layout: FlatLayout
    batch_size: int = 32
    micro_batch_size: int = 32
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None
    scheduler_interval: str = "epoch"
    clip_norm: float | None = None
    autocast: str | None = None
    device: str = "cpu"
    n_threads: int = 1
    output_shape: tuple[int, ...] | None = None
    count_tokens: Callable[[Any], int] | None = None
    keeps_optimizer: bool = True
    # sessions of the workers of this process by number, and those for gradients, which any thread may take
    _sessions: dict[int, WorkerSession] = field(init=False, default_factory=dict[int, WorkerSession], repr=False)
    _spare: list[WorkerSession] = field(init=False, default_factory=list[WorkerSession], repr=False)
    _lock: Any = field(init=False, default_factory=threading.Lock, repr=False)

    divergence = _DIVERGED

    @property
    def capabilities(self) -> frozenset[str]:
        return _CAPABILITIES if self.output_shape is None else _CAPABILITIES | {"averaging"}

    @property
    def unavailable(self) -> Mapping[str, str]:
        return {name: why for name, why in _UNAVAILABLE.items() if name not in self.capabilities}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _sessions={}, _spare=[], _lock=threading.Lock())

    @property
    def nonnegative(self) -> slice:
        # merges with negative weights could make a running variance negative
        return slice(self.layout.first_buffer, self.layout.size)

    def init(self, seed: int) -> np.ndarray:
        """Return the present parameters and buffers of the module."""
        return self.layout.read(self.module, np.zeros(self.layout.size, dtype=self.layout.dtype))

    # -- steps on a worker ---------------------------------------------------------------------------------------------

    def sgd_run(
        self, state: np.ndarray, schedule_step: float, lr_scale: np.ndarray, seed: int, schedule_step_size: float = 1.0
    ) -> TorchRun:
        session = WorkerSession(self)
        session.load(state)
        return TorchRun(self, session, state, schedule_step, lr_scale, seed, schedule_step_size)

    def worker_run(self, state: np.ndarray, task: Task, lr_scale: np.ndarray) -> TorchRun:
        session = self._sessions.get(task.worker)
        if session is None or session.last_round != task.last_round:
            # the first task, or the rows of a worker that was lost
            session = self._sessions[task.worker] = WorkerSession(self)
            if task.worker_state is not None:
                TorchRun.restore(session, task.worker_state)
        elif not self.keeps_optimizer:
            session.reset_moments()
        session.last_round = task.round
        session.load(task.state)
        return TorchRun(self, session, state, task.schedule_step, lr_scale, task.seed, task.schedule_step_size)

    # -- gradients -----------------------------------------------------------------------------------------------------

    def gradient_sum(
        self, state: np.ndarray, rows: Any, batch: np.ndarray, first: int, end: int, schedule_step: float, seed: int
    ) -> tuple[np.ndarray, Totals]:
        """Sum the gradients of examples ``batch[first:end]``; buffers have their change times the weight."""
        out = np.zeros(self.layout.size + 1, dtype=self.layout.dtype)
        n, loss, total = end - first, 0.0, 0.0
        if n == 0:
            return out, Totals(0, 0, np.zeros(1), np.zeros(1))
        session = self._take_session()
        with global_settings.preserved(session.device):
            global_settings.seed_all(_seed_of(seed, schedule_step, first), session.device)
            session.load(state)
            for at in range(first, end, self.micro_batch_size):
                indices = batch[at : min(at + self.micro_batch_size, end)]
                part, weight = session.read(rows, indices)
                if weight > 0.0:
                    loss += session.add_gradient(part, weight) * len(indices)
                    total += weight
        after = np.empty_like(state)
        session.store(after)
        buffers = slice(self.layout.first_buffer, self.layout.size)
        out[buffers] = (after[buffers] - state[buffers]) * total
        vector = torch.from_numpy(out)
        for slot, parameter in zip(self._trained, session.parameters, strict=True):
            if parameter.grad is not None:
                gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                vector[slot.start : slot.stop].copy_(gradient.reshape(-1))
                parameter.grad = None
        out[-1] = total
        self._give_back(session)
        totals = np.array([loss])
        return out, Totals(n, 1, totals, totals)

    def apply_gradient(
        self, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
    ) -> np.ndarray:
        """Make the first step of a new optimizer."""
        return self.optimizer_step(state, slopes, schedule_step, lr_scale, None, False)[0]

    def optimizer_step(
        self,
        state: np.ndarray,
        gradients: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        optimizer_state: Any,
        ends_epoch: bool,
    ) -> tuple[np.ndarray, Any]:
        session = self._take_session()
        session.load(state)
        if optimizer_state is None:
            session.renew_optimizer()
        else:
            session.set_optimizer_state(optimizer_state)
        mean = torch.from_numpy(gradients[:-1] / max(gradients[-1], np.finfo(gradients.dtype).tiny))
        for slot, parameter in zip(self._trained, session.parameters, strict=True):
            values = mean[slot.start : slot.stop].view(parameter.shape)
            parameter.grad = values.to(parameter.device, parameter.dtype)
        session.step(float(lr_scale[0]))
        if ends_epoch:
            session.end_epoch()
        after = np.empty_like(state)
        session.store(after)
        buffers = slice(self.layout.first_buffer, self.layout.size)
        after[buffers] = state[buffers] + mean[buffers].numpy()
        kept = session.optimizer_state()
        self._give_back(session)
        return after, kept

    # -- probe rows ----------------------------------------------------------------------------------------------------

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray:
        """Return the outputs for probe rows, ``(n_rows, n_outputs)``."""
        session = self._take_session()
        session.load(state)
        found = probe_rows.decisions(session.module, x, session.device)
        self._give_back(session)
        return found

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        assert self.loss is not None
        assert self.output_shape is not None
        return probe_rows.mean_loss(self.loss, decision, self.output_shape, rows, torch.device(self.device))

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float:
        # the decay of an optimizer is not part of an objective
        return 0.0

    def max_lr_factor(self, schedule_step: float, n_workers: int) -> float:
        return float(n_workers)

    def log_contraction(self, schedule_step: float, steps: float) -> float:
        # no bound is known
        return 0.0

    @property
    def _trained(self) -> list[Any]:
        return [slot for slot in self.layout.slots if not slot.is_buffer]

    def _take_session(self) -> WorkerSession:
        global_settings.use_threads(self.n_threads)
        with self._lock:
            if self._spare:
                return self._spare.pop()
        return WorkerSession(self)

    def _give_back(self, session: WorkerSession) -> None:
        with self._lock:
            self._spare.append(session)


def _seed_of(seed: int, schedule_step: float, first: int) -> int:
    """Return a seed for the slice of a batch that begins at ``first``."""
    return int(np.random.SeedSequence((seed, int(schedule_step), first)).generate_state(1)[0])
