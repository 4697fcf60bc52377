"""A run of optimizer steps on a module."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import SGDRun, Totals
from parsgd.models.torch import global_settings
from parsgd.models.torch.global_settings import from_numbers, to_numbers

if TYPE_CHECKING:
    from parsgd.models.torch.torch_model import TorchModel
    from parsgd.models.torch.worker_session import WorkerSession


class TorchRun(SGDRun):
    """A run on a state, in place, with the module and the optimizer of a session.

    While it runs, the global random generators continue those of the session; :meth:`finalize` restores them.
    """

    def __init__(
        self,
        model: TorchModel,
        session: WorkerSession,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float = 1.0,
    ):
        # the session's tensors have the present values; the state is written when the run is finalized
        self.model, self.session, self.state, self.lr_scale = model, session, state, lr_scale
        self.step, self.step_size = schedule_step, schedule_step_size
        self.examples = self.steps = self.tokens = 0
        self.loss_sum = 0.0
        self.seed = seed
        # random states outside of the run; None while it does not run
        self.outside: global_settings.RandomStates | None = None

    @property
    def schedule_step(self) -> float:
        return self.step

    def run(self, rows: Any, order: np.ndarray, start: int, stop: int) -> None:
        """Make a step per batch of ``order[start:stop]``, and end the epoch with the last row of the last block."""
        try:
            self._run(rows, order, start, stop)
        except BaseException:
            self._leave()
            raise

    def _run(self, rows: Any, order: np.ndarray, start: int, stop: int) -> None:
        model, session = self.model, self.session
        self._enter()
        for begin in range(start, stop, model.batch_size):
            batch = order[begin : min(begin + model.batch_size, stop)]
            size = model.micro_batch_size
            parts = [session.read(rows, batch[at : at + size]) for at in range(0, len(batch), size)]
            total = sum(weight for _, weight in parts)
            if model.count_tokens is not None:
                self.tokens += sum(int(model.count_tokens(part)) for part, _ in parts)
            for part, weight in parts:
                # without any weight there is no loss
                if weight > 0.0:
                    share = weight / total
                    self.loss_sum += session.add_gradient(part, share) * share * len(batch)
            session.step(float(self.lr_scale[0]))
            self.examples += len(batch)
            self.steps += 1
            self.step += self.step_size
        if start < stop == len(order) and getattr(rows, "ends_epoch", True):
            session.end_epoch()

    def mean_loss(self) -> float:
        return self.loss_sum / max(self.examples, 1)

    def take_totals(self) -> Totals:
        loss = np.array([self.loss_sum])
        totals = Totals(self.examples, self.steps, loss, loss, self.tokens)
        self.examples = self.steps = self.tokens = 0
        self.loss_sum = 0.0
        return totals

    def _enter(self) -> None:
        """Continue the random generators of the session, with the model's number of threads."""
        if self.outside is not None:
            return
        session = self.session
        self.outside = global_settings.capture(session.device)
        global_settings.use_threads(self.model.n_threads)
        if session.states is None:
            global_settings.seed_all(self.seed, session.device)
        else:
            global_settings.restore(session.states, session.device)

    def _leave(self) -> None:
        """Keep the random states of the session, and restore those outside of the run."""
        if self.outside is None:
            return
        session = self.session
        session.states = global_settings.capture(session.device)
        global_settings.restore(self.outside, session.device)
        self.outside = None

    def finalize(self) -> None:
        """Write the module's tensors to the state, and restore the random generators."""
        self._leave()
        self.session.store(self.state)

    @contextlib.contextmanager
    def finalized(self) -> Generator[None]:
        self.session.store(self.state)
        yield

    def worker_state(self) -> dict[str, Any]:
        """Return the optimizer's state and the random states of the worker."""
        states = self.session.states
        return {**self.session.optimizer_state(), "random": None if states is None else to_numbers(states)}

    @staticmethod
    def restore(session: WorkerSession, state: dict[str, Any]) -> None:
        """Let a session continue from a state of :meth:`worker_state`."""
        session.set_optimizer_state(state)
        session.states = None if state["random"] is None else from_numbers(state["random"])
