"""The compiled run of a network: what lies between a state and the kernels."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.kernels.recipe import release_from
from parsgd.utils import first_use

# Bytes of gradients at hand at a time: about a second-level cache.
_GRADIENT_BYTES = 1 << 20
# In float32 the penalty within the reported loss is that of the last so many steps at most: the step of plain SGD is
# one product, and a pass over all weights to square them would cost 4 % of it.
_SQUARE_EVERY = 16
# In float32 plain SGD shrinks the weights by this much at a time: 1 - 1e-4 is rounded to a part in a thousand of 1e-4.
_LEAST_DECAY = 1e-4
# What two workers write to lies at least this many numbers apart: processors fetch cache lines in pairs.
_FENCE = 16
_NO_BOARD = np.empty(0)


class NetworkSGDRun:
    """A run of SGD steps on a state, in place.

    Between :meth:`run` and :meth:`finalize` the first layer's weights may be held times a scale (sparse rows).
    """

    def __init__(
        self,
        model: Any,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        shared_scalars: np.ndarray | None = None,
    ):
        network = first_use.kernels("network")
        self.slot = network
        self.model, self.lr_scale = model, lr_scale
        self.parts = model.parts(state)
        self.recipe = recipe(model)._replace(
            seed=int(seed), shared=shared_scalars is not None, release_from=release_from()
        )
        self.shared_scalars = (_NO_BOARD if shared_scalars is None else shared_scalars).reshape(-1, 1)
        self.plan = plan(model, model.batch_size)
        whole = gathers_whole(model)
        fused = model.solver == "sgd" and not whole
        self.descend = network.DESCEND[fused, whole, shared_scalars is not None]
        self.room = room(model, self.plan, model.batch_size, whole)
        self.carry = np.zeros(network.N_SLOTS + 2 * _FENCE)[_FENCE : _FENCE + network.N_SLOTS]
        self.carry[network.CLOCK], self.carry[network.BEGUN] = schedule_step, model.begun
        self.carry[network.SCALE] = 1.0
        self.examples = 0
        coefs = model.views(state)["coefs"]
        if model.alpha > 0.0 and model.solver != "adamw":
            totals = [float(np.vdot(coef, coef)) for coef in coefs]
            self.carry[network.SQUARE], self.carry[network.FIRST_SQUARE] = sum(totals), totals[0]
        self.coefs = coefs

    @property
    def schedule_step(self) -> float:
        return float(self.carry[self.slot.CLOCK])

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Visit ``order[start:stop]``."""
        self.carry[self.slot.GAIN] = self.lr_scale[0]
        self.descend(
            rows.x, rows.y, rows.weight, order, start, stop, *self.parts, self.room, self.plan, self.recipe, self.carry,
            self.shared_scalars,
        )  # fmt: skip
        self.examples += stop - start

    def mean_loss(self) -> float:
        """Mean loss of the examples since the last :meth:`take_totals`, each batch's taken just before its step."""
        return float(self.carry[self.slot.LOSS]) / max(self.examples, 1)

    def take_totals(self) -> Totals:
        """The sums since the last tally; the loss has the penalty in it, as scikit-learn's ``loss_curve_`` has."""
        loss = np.array([self.carry[self.slot.LOSS]])
        totals = Totals(self.examples, int(self.carry[self.slot.OWN_STEPS]), loss, loss)
        self.carry[self.slot.LOSS] = self.carry[self.slot.OWN_STEPS] = 0.0
        self.examples = 0
        return totals

    def finalize(self) -> None:
        """Bring the state back to plain numbers."""
        carry, slot = self.carry, self.slot
        scale, decay = carry[slot.SCALE], carry[slot.DECAY]
        number = self.coefs[0].dtype.type
        # a scale that is shared is everybody's until the round has ended
        if scale != 1.0 and not self.recipe.shared:
            self.coefs[0] *= number(scale)
            carry[slot.FIRST_SQUARE] *= scale * scale
            carry[slot.SCALE] = 1.0
        if decay > 0.0:
            for coef in self.coefs[self.model.sparse :]:
                coef *= number(1.0 - decay)
        carry[slot.DECAY] = 0.0

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Settle the state for a while; the run then goes on from what it was."""
        plain = self.carry[self.slot.SCALE] == 1.0 and self.carry[self.slot.DECAY] == 0.0
        kept = [] if plain else [(array, array.copy()) for array in (self.carry, *self.coefs)]
        self.finalize()
        yield
        for array, values in kept:
            array[:] = values


@functools.lru_cache(maxsize=64)
def plan(model: Any, batch_size: int) -> Any:
    """Where things lie, as kernels take it; remembered, because `minibatch` asks at every step."""
    Plan = first_use.kernels("network").Plan

    hidden = max(model.sizes[1:-1], default=0)
    # each layer's values begin on a whole vector
    rooms = [_aligned(batch_size * size) for size in (*model.sizes, hidden, hidden)]
    places = [0, *accumulate(rooms)]
    if model.sparse:
        places = [max(place - rooms[0], 0) for place in places]
    arrays = (model.sizes, model.blocks[:-1], places[: len(model.sizes) + 2])
    return Plan(*(np.array(numbers, dtype=np.int64) for numbers in arrays))


def room(model: Any, plan: Any, batch_size: int, whole: bool | None) -> Any:
    """What one batch needs; see :class:`parsgd.kernels.network.Room`.  ``whole``: gradients of all parameters, of a
    block, or none."""
    Room = first_use.kernels("network").Room

    hidden = _aligned(batch_size * max(model.sizes[1:-1], default=0))
    values = _fenced(int(plan.places[-1]) + hidden, model.dtype)
    stored = model.activation == "gelu" or model.dropout > 0.0
    slopes = _fenced(int(plan.places[len(model.sizes) - 1]) if stored else 0, model.dtype)
    if whole is None:
        n_gradients = 0
    elif whole:
        n_gradients = model.n_parameters
    elif model.solver == "sgd":
        n_gradients = 0
    else:
        largest = max(i * o for i, o in zip(model.sizes[:-1], model.sizes[1:], strict=True))
        fitting = _GRADIENT_BYTES // np.dtype(model.dtype).itemsize
        n_gradients = max(min(fitting, largest), *model.sizes[1:])
    gradient = _fenced(n_gradients, model.dtype)
    gradient[:] = 0.0
    return Room(values, slopes, gradient)


@functools.lru_cache(maxsize=64)
def recipe(model: Any) -> Any:
    """The hyper-parameters as kernels take them."""
    activations, outputs, solvers = map(first_use.kernels, ("activations", "outputs", "solvers"))
    gemm_address, NetworkRecipe = first_use.kernels("blas").gemm_address, first_use.kernels("network").NetworkRecipe

    activation = getattr(activations, model.activation.upper())
    losses = {"squared_error": "squared", "absolute_error": "absolute"}
    loss = getattr(outputs, losses.get(model.loss, model.loss).upper())
    averaged = model.loss in ("squared_error", "absolute_error", "huber")
    decoupled = model.solver == "adamw"
    activate, differentiate, drop = activations.addresses(activation, model.dtype, model.dropout > 0.0)
    return NetworkRecipe(
        gemm=gemm_address(model.dtype),
        activation=activation,
        activate=activate,
        differentiate=differentiate,
        drop=drop,
        step=solvers.address(getattr(solvers, model.solver.upper()), model.dtype),
        loss=loss,
        loss_parameter=float(model.loss_parameter),
        # scikit-learn reports the mean over outputs of these losses, and steps along the gradient of their sum
        loss_share=1.0 / model.sizes[-1] if averaged else 1.0,
        batch_size=int(model.batch_size),
        alpha=0.0 if decoupled else float(model.alpha),
        part=1.0,
        shrinkage=float(model.alpha) if decoupled else 0.0,
        eta0=float(model.eta0),
        falling=model.schedule == "invscaling",
        power_t=float(model.power_t),
        seen=float(model.seen),
        rows_per_epoch=float(model.rows_per_epoch),
        steps_per_epoch=float(model.steps_per_epoch),
        hyper=(float(model.momentum), float(model.beta_1), float(model.beta_2), float(model.epsilon)),
        clip=float(model.clip_norm or 0.0),
        keep=1.0 - float(model.dropout),
        seed=0,
        shift=0,
        moves=True,
        square_every=1 if model.dtype == "float64" else _SQUARE_EVERY,
        least_decay=0.0 if model.dtype == "float64" else _LEAST_DECAY,
        release_from=0,
        shared=False,
    )


def gathers_whole(model: Any) -> bool:
    """Whether a step needs the gradient of all parameters at once: to clip it, or on sparse rows, where the solver
    moves all weights at every step."""
    return model.clip_norm is not None or (model.sparse and model.solver != "sgd")


def gradient_sum(
    model: Any, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, schedule_step: float, seed: int
) -> tuple[np.ndarray, Totals]:
    """Summed gradients of the examples ``batch[first:end]`` and their summed weight, in one vector; and their losses.

    Dropout masks are those that the examples have in the whole batch, and the losses what they add to its own.
    """
    network = first_use.kernels("network")

    out = np.zeros(model.n_parameters + 1, dtype=model.dtype)
    n = end - first
    if n == 0:
        return out, Totals(0, 0, np.zeros(1), np.zeros(1))
    made = recipe(model)._replace(
        seed=int(seed), release_from=release_from(), moves=False, batch_size=n, shift=first, part=n / len(batch)
    )
    where = plan(model, n)
    space = room(model, where, n, None)._replace(gradient=out[:-1])
    carry = np.zeros(network.N_SLOTS + 2 * _FENCE)[_FENCE : _FENCE + network.N_SLOTS]
    carry[network.CLOCK], carry[network.BEGUN], carry[network.SCALE], carry[network.GAIN] = (
        schedule_step,
        model.begun,
        1.0,
        1.0,
    )
    if made.alpha > 0.0:
        carry[network.SQUARE] = sum(float(np.vdot(coef, coef)) for coef in model.views(state)["coefs"])
    parts = model.parts(state)
    network.DESCEND[False, True, False](
        rows.x, rows.y, rows.weight, batch, first, end, *parts, space, where, made, carry, _NO_BOARD.reshape(-1, 1)
    )
    loss = np.array([carry[network.LOSS]])
    out[-1] = n
    if rows.weight.size:
        # the kernel has divided by the weight of these examples, not of the batch
        weight, total = (float(rows.weight[part].sum(dtype=np.float64)) for part in (batch[first:end], batch))
        out[-1] = weight
        loss *= weight / n * len(batch) / total if total > 0.0 else 0.0
    return out, Totals(n, 1, loss, loss)


def apply_gradient(
    model: Any, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
) -> np.ndarray:
    """The state one step further, along what :func:`gradient_sum` gave, summed over a batch."""
    network = first_use.kernels("network")

    state = state.copy()
    if slopes[-1] <= 0.0 or lr_scale[0] == 0.0:
        return state
    carry = np.zeros(network.N_SLOTS)
    carry[network.CLOCK], carry[network.BEGUN], carry[network.GAIN] = schedule_step, model.begun, lr_scale[0]
    made = recipe(model)._replace(release_from=release_from())
    network.step_network(*model.parts(state), slopes[:-1], plan(model, 1), made, carry, float(slopes[-1]))
    return state


def _aligned(n: int) -> int:
    return -(-n // 16) * 16


def _fenced(n: int, dtype: str) -> np.ndarray:
    """``n`` numbers that begin on a cache line of their own."""
    if n == 0:
        return np.empty(0, dtype=dtype)
    size = np.dtype(dtype).itemsize
    raw = np.empty(n * size + 256, dtype=np.uint8)
    begin = -raw.ctypes.data % 128
    return raw[begin : begin + n * size].view(dtype)
