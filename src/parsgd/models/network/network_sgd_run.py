"""The compiled SGD run of a network: the layer between a state and the kernels."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.core.padded import padded_empty, padded_zeros
from parsgd.core.round_group import RoundGroup
from parsgd.kernels.lowlevel.gil_threshold import NEVER, get_gil_threshold
from parsgd.kernels.network import network_types as field
from parsgd.kernels.network.network_types import NetworkBuffers, NetworkHyperparams, NetworkLayout
from parsgd.models.network.forward import LOSSES
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.models.network.network_model import Network

# Bytes of gradients per block: about a second-level cache.
_GRADIENT_BYTES = 1 << 20
# In float32 the penalty within the reported loss is at most this many steps old: a plain SGD step is one product, and
# squaring all weights would cost 4 % of it.
_SQUARE_EVERY = 16
# In float32 plain SGD accumulates weight decay up to this amount: 1 - 1e-4 is rounded to a part in a thousand of 1e-4.
_LEAST_DECAY = 1e-4
NOTHING_SHARED = np.empty((0, 1))


class NetworkSGDRun:
    """A run of SGD steps on a state, in place.

    Between :meth:`run` and :meth:`finalize` the first layer's weights may have a separate scale (sparse rows).
    """

    model: Network
    lr_scale: np.ndarray
    parts: tuple[np.ndarray, np.ndarray, np.ndarray]
    hyperparams: NetworkHyperparams
    shared_scalars: np.ndarray
    layout: NetworkLayout
    kernel: Any
    buffers: NetworkBuffers
    run_state: np.ndarray
    examples: int
    coefs: list[np.ndarray]
    last_scale: float

    def __init__(
        self,
        model: Network,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        shared_scalars: np.ndarray | None = None,
    ):
        self.model, self.lr_scale = model, lr_scale
        self.parts = model.parts(state)
        self.hyperparams = make_hyperparams(model)._replace(
            seed=int(seed), is_shared=shared_scalars is not None, release_gil_from=get_gil_threshold()
        )
        self.shared_scalars = NOTHING_SHARED if shared_scalars is None else shared_scalars.reshape(-1, 1)
        self.layout = make_layout(model, model.batch_size)
        whole = gathers_whole(model)
        fused = model.solver == "sgd" and not whole
        self.kernel = first_use.kernels("network.network_steps").RUN_KERNELS[fused, whole, shared_scalars is not None]
        self.buffers = make_buffers(model, self.layout, model.batch_size, whole)
        self.run_state = make_run_state()
        self.run_state[field.SCHEDULE_STEP], self.run_state[field.FIRST_STEP] = schedule_step, model.begun
        self.run_state[field.FIRST_LAYER_SCALE] = self.run_state[field.PENALTY_FRACTION] = 1.0
        self.examples, self.last_scale = 0, 1.0
        self.coefs = model.views(state)["coefs"]
        # the arguments of compiled rounds but for the group and the order
        self.prepared: tuple[Any, ...] | None = None
        if self._needs_norms:
            compute = first_use.kernels("network.network_steps").compute_squared_norms
            compute(self.parts[0], self.layout, self.run_state)

    @property
    def schedule_step(self) -> float:
        return float(self.run_state[field.SCHEDULE_STEP])

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Make steps on ``order[start:stop]``."""
        self.run_state[field.LR_SCALE] = self.lr_scale[0]
        self.kernel(*rows, order, start, stop, *self._step_arguments(self.hyperparams))
        self.examples += stop - start

    def _step_arguments(self, hyperparams: NetworkHyperparams) -> tuple[Any, ...]:
        """Return the kernel's arguments after the rows and their order."""
        return (*self.parts, self.buffers, self.layout, hyperparams, self.run_state, self.shared_scalars)

    @property
    def steps_per_tick(self) -> float:
        return 1.0

    @property
    def lists_features(self) -> bool:
        # a solver's momentum moves all weights
        return False

    def prepare_rounds(self, rows: Rows, order: np.ndarray, group: RoundGroup, worker: int) -> Callable[[], int]:
        kernels, steps = map(first_use.kernels, ("rounds.network_rounds", "network.network_steps"))
        if self.prepared is None:
            kernel_address = first_use.kernels("lowlevel.compiling").kernel_address
            step = self._step_arguments(self.hyperparams._replace(release_gil_from=NEVER))
            step_address = kernel_address(self.kernel, (*rows, order, 0, 0, *step))
            norms = (self.parts[0], self.layout, self.run_state)
            run = kernels.NetworkRun(
                *norms,
                lr_scale=self.lr_scale,
                norms_address=kernel_address(steps.compute_squared_norms, norms) if self._needs_norms else 0,
                first_step=float(self.model.begun),
                sparse=bool(self.model.sparse),
            )
            services = first_use.kernels("rounds.barrier").make_services(group, tuple(rows), order)
            self.prepared = services, worker, step_address, tuple(rows), step, run
        return partial(kernels.run_network_rounds, group, order, *self.prepared)

    @property
    def _needs_norms(self) -> bool:
        """True if the reported loss has a penalty."""
        return self.model.alpha > 0.0 and self.model.solver != "adamw"

    def mean_loss(self) -> float:
        """Return the mean loss of the examples since the last :meth:`take_totals`, per batch just before its step."""
        return float(self.run_state[field.LOSS]) / max(self.examples, 1)

    def take_totals(self) -> Totals:
        """Return the sums since the last totals and reset them; as in ``loss_curve_`` the loss includes the penalty."""
        loss = np.array([self.run_state[field.LOSS]])
        totals = Totals(self.examples, int(self.run_state[field.STEPS_TAKEN]), loss, loss)
        self.run_state[field.LOSS] = self.run_state[field.STEPS_TAKEN] = 0.0
        self.examples = 0
        return totals

    def finalize(self) -> None:
        """Bring the state back to unscaled weights."""
        run_state = self.run_state
        scale, decay = run_state[field.FIRST_LAYER_SCALE], run_state[field.PENDING_DECAY]
        number = self.coefs[0].dtype.type
        # a shared scale stays shared until the round ends
        if scale != 1.0 and not self.hyperparams.is_shared:
            self.coefs[0] *= number(scale)
            self.last_scale = float(scale)
            run_state[field.FIRST_LAYER_SQUARED_NORM] *= scale * scale
            run_state[field.FIRST_LAYER_SCALE] = 1.0
        if decay > 0.0:
            for coef in self.coefs[self.model.sparse :]:
                coef *= number(1.0 - decay)
        run_state[field.PENDING_DECAY] = 0.0

    def shrinkage(self) -> np.ndarray | None:
        """Return the scale of the first layer in the last :meth:`finalize`, per unit."""
        if self.last_scale == 1.0:
            return None
        return np.full(self.model.sizes[1], self.last_scale, dtype=self.model.dtype)

    @contextlib.contextmanager
    def finalized(self) -> Generator[None]:
        """Finalize the state within a context; afterwards the run continues from its previous form."""
        plain = self.run_state[field.FIRST_LAYER_SCALE] == 1.0 and self.run_state[field.PENDING_DECAY] == 0.0
        kept = [] if plain else [(array, array.copy()) for array in (self.run_state, *self.coefs)]
        self.finalize()
        yield
        for array, values in kept:
            array[:] = values


def make_run_state() -> np.ndarray:
    """Allocate a run state on cache lines of its own."""
    return padded_zeros(field.N_FIELDS)


@functools.lru_cache(maxsize=64)
def make_layout(model: Network, batch_size: int) -> NetworkLayout:
    """Return the offsets of all arrays in the kernels' form; cached, because `minibatch` calls it at every step."""
    hidden = max(model.sizes[1:-1], default=0)
    # each layer's values start on a whole vector
    padded_sizes = [_aligned(batch_size * size) for size in (*model.sizes, hidden, hidden)]
    value_starts = [0, *accumulate(padded_sizes)]
    if model.sparse:
        value_starts = [max(start - padded_sizes[0], 0) for start in value_starts]
    arrays = (model.sizes, model.blocks[:-1], value_starts[: len(model.sizes) + 2])
    return NetworkLayout(*(np.array(numbers, dtype=np.int64) for numbers in arrays))


def make_buffers(model: Network, layout: NetworkLayout, batch_size: int, whole: bool | None) -> NetworkBuffers:
    """Allocate the buffers of one batch.

    ``whole`` selects space for the gradients of all parameters, of a block (False), or none (None).
    """
    hidden = _aligned(batch_size * max(model.sizes[1:-1], default=0))
    values = padded_empty(int(layout.value_starts[-1]) + hidden, model.dtype)
    stored = model.activation == "gelu" or model.dropout > 0.0
    derivatives = padded_empty(int(layout.value_starts[len(model.sizes) - 1]) if stored else 0, model.dtype)
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
    gradient = padded_empty(n_gradients, model.dtype)
    gradient[:] = 0.0
    return NetworkBuffers(values, derivatives, gradient)


@functools.lru_cache(maxsize=64)
def make_hyperparams(model: Network) -> NetworkHyperparams:
    """Return the hyperparameters as the kernels' record."""
    activations, solvers = map(first_use.kernels, ("network.activations", "network.solvers"))
    get_gemm_address = first_use.kernels("lowlevel.gemm").get_gemm_address

    activation = getattr(activations, model.activation.upper())
    loss = LOSSES[model.loss]
    decoupled = model.solver == "adamw"
    activate, differentiate, drop = activations.get_addresses(activation, model.dtype, model.dropout > 0.0)
    return NetworkHyperparams(
        gemm_address=get_gemm_address(model.dtype),
        activation=activation,
        activate_address=activate,
        differentiate_address=differentiate,
        dropout_address=drop,
        step_address=solvers.get_step_address(getattr(solvers, model.solver.upper()), model.dtype),
        loss=loss.code,
        loss_parameter=float(model.loss_parameter),
        # scikit-learn reports the mean of these losses over outputs, and steps along the gradient of their sum
        loss_scale=1.0 / model.sizes[-1] if loss.averaged else 1.0,
        batch_size=int(model.batch_size),
        alpha=0.0 if decoupled else float(model.alpha),
        weight_decay=float(model.alpha) if decoupled else 0.0,
        eta0=float(model.eta0),
        is_invscaling=model.schedule == "invscaling",
        power_t=float(model.power_t),
        rows_seen=float(model.seen),
        rows_per_epoch=float(model.rows_per_epoch),
        steps_per_epoch=float(model.steps_per_epoch),
        solver_params=(float(model.momentum), float(model.beta_1), float(model.beta_2), float(model.epsilon)),
        clip=float(model.clip_norm or 0.0),
        keep_probability=1.0 - float(model.dropout),
        seed=0,
        takes_step=True,
        norm_every=1 if model.dtype == "float64" else _SQUARE_EVERY,
        min_decay=0.0 if model.dtype == "float64" else _LEAST_DECAY,
        release_gil_from=0,
        is_shared=False,
    )


def gathers_whole(model: Network) -> bool:
    """Return True if a step needs the gradient of all parameters at once.

    It does for clipping, and on sparse rows with a solver that changes all weights at every step.
    """
    return model.clip_norm is not None or (model.sparse and model.solver != "sgd")


def _aligned(n: int) -> int:
    return -(-n // 16) * 16
