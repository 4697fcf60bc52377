"""The compiled run of a linear model: what lies between a state and the kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.kernels import recipe as slot
from parsgd.kernels.recipe import NEVER
from parsgd.utils import first_use

# Below this the scale is multiplied into the weights: far from underflow, rare enough to cost nothing.
_TINY_SCALE = {"float32": 1e-6, "float64": 1e-9}


def without_cache(kernel, loss):
    """A user's loss exists in this process alone: compile its kernel here, once, and write nothing to disk.

    ``loss``: its numbers, as kernels take them.
    """
    return first_use.kernels("own_losses").kernel_for(kernel, loss)


def spread(values: Any, stride: int, dtype: Any) -> np.ndarray:
    """``(stride,)``: the outputs' ``values``, and 1 in the room past them."""
    out = np.ones(stride, dtype=dtype)
    out[: len(values)] = values
    return out


class LinearSGDRun:
    """A run of SGD steps on a state, in place.

    Between :meth:`run` and :meth:`finalize` the weights are held in the kernels' scaled form.
    """

    def __init__(
        self,
        model: Any,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        schedule_step_size: float = 1.0,
        shared_scalars: np.ndarray | None = None,
    ):
        self.model, self.state, self.lr_scale = model, state, lr_scale
        self.views = model.views(state)
        self.coef, self.mean, self.paid = (model.flat(state, name) for name in ("coef", "mean_coef", "paid"))
        self.recipe = model.recipe(schedule_step_size)
        single = model.n_outputs == 1
        self.kernel, self.shared = self._choose_kernel(shared_scalars is not None), ()
        if shared_scalars is not None:
            self.shared = (shared_scalars.reshape(-1, model.n_outputs),)
        if not isinstance(model.loss, str):
            # compiled code of a user may raise, so Numba itself handles the GIL
            self.kernel = without_cache(self.kernel, self.recipe.loss)
            self.recipe = self.recipe._replace(release_from=NEVER)
        batch = model.batch_size
        self.buffer = np.zeros(batch) if single else np.zeros((batch, model.stride), dtype=model.dtype)
        self.scratch = (np.zeros((3, model.stride), dtype=model.dtype), np.zeros((2, model.stride)))
        self.lanes = np.zeros((slot.N_SLOTS, model.stride))
        # steps divide by the scales, of the room past the outputs too
        self.lanes[slot.SCALE] = 1.0
        self.carry = self.lanes[:, : model.n_outputs]
        self._fill_carry(schedule_step)
        self.examples, self.opened = 0, False

    def _choose_kernel(self, shared: bool) -> Any:
        """The kernel that has what the model needs, and as little else as there is."""
        model = self.model
        kind = "single" if model.n_outputs == 1 else "softmax" if model.loss == "softmax" else "multi"
        if shared:
            return getattr(first_use.kernels("sharing_linear"), f"share_{kind}")
        full = model.average or model.truncates or model.one_class or model.schedule in ("pa1", "pa2")
        module = first_use.kernels("single" if kind == "single" else "multi")
        return getattr(module, f"descend_{kind}" + "_full" * bool(full))

    def _fill_carry(self, schedule_step: float) -> None:
        model, views, carry = self.model, self.views, self.carry
        carry[slot.CLOCK], carry[slot.FACTOR] = schedule_step, 1.0
        carry[slot.INTERCEPT] = views["intercept"]
        if model.average:
            carry[slot.MEAN_INTERCEPT] = views["mean_intercept"]
        if "penalty" in views:
            carry[slot.PENALTY] = views["penalty"]
        if model.measured and model.penalty is not None:
            carry[slot.SQUARE] = np.einsum("ij,ij->j", views["coef"], views["coef"])
            if model.truncates:
                carry[slot.ABSOLUTE] = np.abs(views["coef"]).sum(axis=0)

    @property
    def schedule_step(self) -> float:
        return float(self.carry[slot.CLOCK, 0])

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Visit ``order[start:stop]``."""
        if not self.opened:
            self._open()
        tiny = _TINY_SCALE[self.model.dtype]
        self.kernel(
            rows.x, rows.y, rows.weight, order, start, stop, self.coef, self.mean, self.paid, self.buffer,
            self.scratch, tiny, self.lanes, self.recipe, *self.shared,
        )  # fmt: skip
        self.examples += stop - start

    def mean_loss(self) -> float:
        """Mean loss of the examples since the last :meth:`take_totals`, each taken just before its step."""
        losses = self.carry[slot.LOSS] + np.log(self.carry[slot.FACTOR])
        return self.model.total_loss(losses) / max(self.examples, 1)

    def take_totals(self) -> Totals:
        """The sums since the last totals."""
        carry = self.carry
        loss = carry[slot.LOSS] + np.log(carry[slot.FACTOR])
        steps = round(float(carry[slot.OWN_CLOCK, 0]) / self.recipe.pace)
        totals = Totals(self.examples, steps, loss, loss + carry[slot.OBJECTIVE])
        carry[slot.LOSS], carry[slot.OBJECTIVE], carry[slot.FACTOR] = 0.0, 0.0, 1.0
        carry[slot.OWN_CLOCK] = 0.0
        self.examples = 0
        return totals

    def finalize(self) -> None:
        """Bring the state back to plain numbers.  The next :meth:`run` takes up the gains as they then are."""
        if not self.opened:
            return
        self.opened = False
        if self.shared:
            # scale and intercept are everybody's until the round has ended: see linear_shared.py
            return
        carry, model, views = self.carry, self.model, self.views
        if model.average:
            self._settle_mean()
            views["mean_intercept"][:] = carry[slot.MEAN_INTERCEPT]
        if np.any(carry[slot.SCALE] != 1.0):
            self._rows(self.coef)[:] *= self._spread(carry[slot.SCALE])
        if model.truncates:
            views["penalty"][:] = carry[slot.PENALTY]
        views["intercept"][:] = carry[slot.INTERCEPT]

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Settle the state for a while; the run then goes on from what it was."""
        opened = self.opened
        kept = [(array, array.copy()) for array in self._kept()]
        self.finalize()
        yield
        for array, values in kept:
            array[:] = values
        self.opened = opened

    def _kept(self) -> tuple[np.ndarray, ...]:
        """The arrays that :meth:`finalize` writes to."""
        return (self.state, self.lanes) if self.opened else ()

    def _settle_mean(self) -> None:
        """From the sum of the iterates, ``SUMMED * stored + slot``, to their mean; converged outputs keep theirs."""
        count = self._averaged()
        if count == 0:
            # the mean of none is where the run stands, so that it can be merged with means that have begun
            self._rows(self.mean)[:] = self._rows(self.coef) * self._spread(self.carry[slot.SCALE])
            self.carry[slot.MEAN_INTERCEPT] = self.carry[slot.INTERCEPT]
        else:
            mean = self._rows(self.coef) * self._spread(self.carry[slot.SUMMED] / count)
            mean += self._rows(self.mean) * self._spread(np.full(self.model.n_outputs, 1.0 / count))
            active = self._spread(self.carry[slot.GAIN]) > 0.0
            self._rows(self.mean)[:] = np.where(active, mean, self._rows(self.mean))

    def _averaged(self) -> int:
        """How many iterates the mean holds at the present clock."""
        return max(0, int((self.schedule_step - self.model.average) / self.recipe.pace)) if self.model.average else 0

    def _open(self) -> None:
        """Start from plain numbers; turn the mean of the iterates into their sum."""
        carry = self.carry
        carry[slot.SUMMED], carry[slot.SCALE], carry[slot.GAIN] = 0.0, 1.0, self.lr_scale
        self.opened = True
        if self.model.average:
            self._rows(self.mean)[:] *= self._spread(np.where(self.lr_scale > 0.0, self._averaged(), 1.0))

    def _rows(self, flat: np.ndarray) -> np.ndarray:
        """``(features, stride)``, room included."""
        return flat.reshape(-1, self.model.stride)

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """``(stride,)`` in the model's dtype: the outputs' values, and 1 in the room past them."""
        return spread(values, self.model.stride, self.model.dtype)
