"""The compiled SGD run of a linear model: the layer between a state and the kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.core.padded import padded_zeros, private_copy
from parsgd.core.round_group import RoundGroup
from parsgd.kernels.linear import run_state as field
from parsgd.kernels.linear.hyperparams import Hyperparams
from parsgd.kernels.lowlevel.gil_threshold import NEVER
from parsgd.utils import first_use

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from parsgd.kernels.user_losses import Numbers
    from parsgd.models.linear.linear_model import Linear

# Below this the scale is multiplied into the weights: far from underflow, rare enough to cost nothing.
_TINY_SCALE = {"float32": 1e-6, "float64": 1e-9}


def without_cache(kernel: Any, loss: Numbers) -> Any:
    """Compile a kernel for a user's loss once in this process, without writing to disk.

    ``loss`` holds its attributes in the kernels' form.
    """
    return first_use.kernels("user_losses").get_kernel(kernel, loss)


def spread(values: Sequence[float] | np.ndarray, n_lanes: int, dtype: DTypeLike) -> np.ndarray:
    """Return ``(n_lanes,)``: the outputs' ``values``, padded with 1."""
    out = np.ones(n_lanes, dtype=dtype)
    out[: len(values)] = values
    return out


class LinearSGDRun:
    """A run of SGD steps on a state, in place.

    Between :meth:`run` and :meth:`finalize` the weights are in the kernels' scaled form.
    """

    model: Linear
    state: np.ndarray
    lr_scale: np.ndarray
    views: dict[str, np.ndarray]
    coef: np.ndarray
    mean: np.ndarray
    mean_before: np.ndarray
    averaged_before: int
    paid: np.ndarray
    hyperparams: Hyperparams
    kernel: Any
    shared_scalars: np.ndarray | None
    shared: tuple[Any, ...]
    buffer: np.ndarray
    scratch: tuple[np.ndarray, ...]
    lanes: np.ndarray
    run_state: np.ndarray
    examples: int
    opened: bool

    def __init__(
        self,
        model: Linear,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        schedule_step_size: float = 1.0,
        shared_scalars: np.ndarray | None = None,
    ):
        self.model, self.state, self.lr_scale = model, state, lr_scale
        self.views = model.views(state)
        self.coef, self.mean, self.paid = (model.part(state, name) for name in ("coef", "mean_coef", "paid"))
        self.hyperparams = model.make_hyperparams(schedule_step_size)
        single = model.n_outputs == 1
        self.kernel, self.shared = self._choose_kernel(shared_scalars is not None), ()
        self.shared_scalars = None if shared_scalars is None else shared_scalars.reshape(-1, model.n_outputs)
        if model.described_loss.is_compiled_separately:
            # a user's compiled code may raise, so Numba handles the GIL
            self.kernel = without_cache(self.kernel, self.hyperparams.loss)
            self.hyperparams = self.hyperparams._replace(release_gil_from=NEVER)
        batch = model.batch_size
        # steps of one output and one row write to none of these
        zeros: Callable[..., np.ndarray] = np.zeros if single and batch == 1 else padded_zeros
        self.buffer = zeros(batch) if single else zeros((batch, model.n_lanes), model.dtype)
        self.scratch = (zeros((3, model.n_lanes), model.dtype), zeros((2, model.n_lanes)))
        self.lanes = zeros((field.N_FIELDS, model.n_lanes))
        # steps divide by the scales, also in the padding
        self.lanes[field.SCALE] = 1.0
        self.run_state = self.lanes[:, : model.n_outputs]
        self._fill_run_state(schedule_step)
        self.examples, self.opened = 0, False
        self.mean_before, self.averaged_before = self.mean, 0
        # the arguments of compiled rounds but for the group and the order
        self.prepared: tuple[Any, ...] | None = None

    def _choose_kernel(self, shared: bool) -> Any:
        """Return the most specialized kernel that supports the model."""
        model = self.model
        kind = "single" if model.n_outputs == 1 else "softmax" if model.described_loss.joint else "multi"
        if shared:
            return getattr(first_use.kernels("shared.shared_weights_linear"), f"run_shared_{kind}")
        full = model.average or model.truncates or model.one_class or model.schedule in ("pa1", "pa2")
        module = first_use.kernels("linear.single" if kind == "single" else "linear.multi")
        return getattr(module, f"run_sgd_{kind}" + "_full" * bool(full))

    def _make_private(self) -> Any:
        """Copy the weights that the run makes its steps on (:mod:`parsgd.kernels.shared.private_weights`)."""
        copies = (private_copy(array) for array in (self.coef, self.coef, self.paid, self.paid))
        position, folded = np.zeros(2, dtype=np.int64), np.zeros(self.model.n_outputs)
        return first_use.kernels("shared.private_weights").PrivateWeights(*copies, folded, position)

    def _fill_run_state(self, schedule_step: float) -> None:
        model, views, run_state = self.model, self.views, self.run_state
        run_state[field.SCHEDULE_STEP], run_state[field.LOSS_FACTOR] = schedule_step, 1.0
        run_state[field.INTERCEPT] = views["intercept"]
        if model.average:
            run_state[field.MEAN_INTERCEPT] = views["mean_intercept"]
        if "penalty" in views:
            run_state[field.TOTAL_PENALTY] = views["penalty"]
        # a new fit starts from zeros and does not need the kernel
        if self._needs_norms and self.coef.any():
            first_use.kernels("linear.gradients").compute_norms(self.coef, self.lanes, self.model.n_outputs)

    @property
    def schedule_step(self) -> float:
        return float(self.run_state[field.SCHEDULE_STEP, 0])

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Make steps on ``order[start:stop]``."""
        if not self.opened:
            self._open()
        self.kernel(*rows, order, start, stop, *self._step_arguments(self.hyperparams))
        self.examples += stop - start

    def _step_arguments(self, hyperparams: Hyperparams) -> tuple[Any, ...]:
        """Return the kernel's arguments after the rows and their order."""
        tiny = _TINY_SCALE[self.model.dtype]
        state = (self.coef, self.mean, self.paid, self.buffer, self.scratch, tiny, self.lanes)
        return (*state, hyperparams, *self.shared)

    @property
    def steps_per_tick(self) -> float:
        return self.hyperparams.steps_per_tick

    @property
    def lists_features(self) -> bool:
        return self.model.sparse

    def prepare_rounds(self, rows: Rows, order: np.ndarray, group: RoundGroup, worker: int) -> Callable[[], int]:
        kernels = first_use.kernels("rounds.linear_rounds")
        if self.prepared is None:
            kernel_address = first_use.kernels("lowlevel.compiling").kernel_address
            hyperparams = self.hyperparams._replace(release_gil_from=NEVER)
            step = self._step_arguments(hyperparams)
            step_address = kernel_address(self.kernel, (*rows, order, 0, 0, *step))
            run = self._compiled_run(kernels, kernel_address, hyperparams)
            barrier = first_use.kernels("rounds.barrier")
            if self.lists_features and group.coordinates.rule:
                run = run._replace(merged_coef=self.model.part(group.coordinates.base, "coef"))
                decay = barrier.Decay(self._squares_start, hyperparams.l1_ratio, 1.0 - hyperparams.l1_ratio)
                services = barrier.make_listing_services(group, tuple(rows), order, run.applied_penalty, decay)
            else:
                services = barrier.make_services(group, tuple(rows), order)
            self.prepared = services, worker, step_address, tuple(rows), step, hyperparams, run
        return partial(kernels.run_linear_rounds, group, order, *self.prepared)

    def _compiled_run(self, kernels: Any, kernel_address: Callable[..., int], hyperparams: Hyperparams) -> Any:
        """Return the run in the form that compiled rounds take."""
        part, nothing = self.model.part, self.coef[:0]
        norms_of = (self.coef, self.lanes, self.model.n_outputs)
        norms = (
            kernel_address(first_use.kernels("linear.gradients").compute_norms, norms_of) if self._needs_norms else 0
        )
        return kernels.LinearRun(
            coef=self.coef,
            intercept=part(self.state, "intercept"),
            penalty=part(self.state, "penalty"),
            squares=nothing,
            intercept_squares=nothing,
            applied_penalty=nothing,
            lanes=self.lanes,
            lr_scale=self.lr_scale,
            norms_address=norms,
            penalty_address=0,
            merged_coef=self.coef,
        )

    @property
    def _squares_start(self) -> int:
        """Position of AdaGrad's sums of squares in the state; -1 without them."""
        return self.model.layout["squares"].start if "squares" in self.model.layout else -1

    @property
    def _needs_norms(self) -> bool:
        """True if the reported objective has a penalty."""
        return self.model.measured and self.model.penalty is not None

    def mean_loss(self) -> float:
        """Return the mean loss of the examples since the last :meth:`take_totals`, each taken just before its step."""
        losses = self.run_state[field.LOSS] + np.log(self.run_state[field.LOSS_FACTOR])
        return self.model.total_loss(losses) / max(self.examples, 1)

    def take_totals(self) -> Totals:
        """Return the sums since the last totals and reset them."""
        run_state = self.run_state
        loss = run_state[field.LOSS] + np.log(run_state[field.LOSS_FACTOR])
        steps = round(float(run_state[field.SCHEDULE_STEPS_TAKEN, 0]) / self.hyperparams.steps_per_tick)
        totals = Totals(self.examples, steps, loss, loss + run_state[field.PENALTY_SUM])
        run_state[field.LOSS], run_state[field.PENALTY_SUM], run_state[field.LOSS_FACTOR] = 0.0, 0.0, 1.0
        run_state[field.SCHEDULE_STEPS_TAKEN] = 0.0
        self.examples = 0
        return totals

    def finalize(self) -> None:
        """Bring the state back to unscaled weights. The next :meth:`run` uses the lr scale as it then is."""
        if not self.opened:
            return
        self.opened = False
        if self.shared:
            # scale and intercept are shared until the round ends: see linear_shared_state.py
            exchange_all = first_use.kernels("shared.private_weights").exchange_all
            tiny, release_gil_from = _TINY_SCALE[self.model.dtype], self.hyperparams.release_gil_from
            exchange_all(self.coef, self.paid, tiny, release_gil_from, *self.shared)
            return
        run_state, model, views = self.run_state, self.model, self.views
        if model.average:
            self._settle_mean()
            views["mean_intercept"][:] = run_state[field.MEAN_INTERCEPT]
        if np.any(run_state[field.SCALE] != 1.0):
            self._rows(self.coef)[:] *= self._cast(run_state[field.SCALE])
        if model.truncates:
            views["penalty"][:] = run_state[field.TOTAL_PENALTY]
        views["intercept"][:] = run_state[field.INTERCEPT]

    def shrinkage(self) -> np.ndarray | None:
        """Return the scale of the last :meth:`finalize`."""
        scale = self.run_state[field.SCALE]
        return scale.astype(self.model.dtype) if np.any(scale != 1.0) else None

    @contextlib.contextmanager
    def finalized(self) -> Generator[None]:
        """Finalize the state within a context; afterwards the run continues from its previous form."""
        opened = self.opened
        kept = [(array, array.copy()) for array in self._kept()]
        self.finalize()
        yield
        for array, values in kept:
            array[:] = values
        self.opened = opened

    def _kept(self) -> tuple[np.ndarray, ...]:
        """Return the arrays that :meth:`finalize` writes to."""
        return (self.state, self.lanes) if self.opened else ()

    def _settle_mean(self) -> None:
        """Add the sum of the iterates, ``SCALE_SUM * stored + slot``, to the mean before; converged outputs keep it.

        The slot has the iterates of this run only.  Added to the sum of all iterates before, which may have been
        millions, small steps would be lost in rounding.
        """
        count = self._averaged()
        if count == 0:
            # before averaging starts, the mean is the current iterate, so that it can be merged with means that have
            # started
            self._rows(self.mean)[:] = self._rows(self.coef) * self._cast(self.run_state[field.SCALE])
            self.run_state[field.MEAN_INTERCEPT] = self.run_state[field.INTERCEPT]
        else:
            before = self._rows(self.mean_before)
            # in float64
            mean = self._rows(self.coef) * (self.run_state[field.SCALE_SUM] / count)
            mean += self._rows(self.mean) * np.float64(1.0 / count)
            mean += before * np.float64(self.averaged_before / count)
            self._rows(self.mean)[:] = np.where(self.run_state[field.LR_SCALE] > 0.0, mean, before)

    def _averaged(self) -> int:
        """Return the number of iterates in the mean at the current schedule step."""
        return (
            max(0, int((self.schedule_step - self.model.average) / self.hyperparams.steps_per_tick))
            if self.model.average
            else 0
        )

    def _open(self) -> None:
        """Start from unscaled weights and an empty sum of iterates."""
        run_state = self.run_state
        run_state[field.SCALE_SUM], run_state[field.SCALE], run_state[field.LR_SCALE] = 0.0, 1.0, self.lr_scale
        self.opened = True
        if self.shared_scalars is not None:
            self.shared = (self.shared_scalars, self._make_private())
        if self.model.average:
            self.mean_before, self.averaged_before = self.mean.copy(), self._averaged()
            self.mean[:] = 0.0

    def _rows(self, flat: np.ndarray) -> np.ndarray:
        """View as ``(features, outputs)``, padding included."""
        return flat.reshape(-1, self.model.n_outputs)

    def _cast(self, values: np.ndarray) -> np.ndarray:
        """Return the outputs' values ``(n_outputs,)`` in the model's dtype."""
        return values.astype(self.model.dtype)
