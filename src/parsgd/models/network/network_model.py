"""Feed-forward networks: layers of ``act(A W + c)``, trained in matrix form.

Objective, over n examples i with weights s_i, and predictions p of the last layer::

    1/n sum_i s_i loss(y_i, p_i) + alpha / (2 n) sum_l |W_l|_2^2

with n the sum of the weights, as in scikit-learn; every batch divides by its own. The state is the parameters, layer by
layer (W row by row, then the bias), followed by the solver's slots: none for plain SGD, the velocity for momentum and
Nesterov, two moments for Adam and AdamW. Each layer starts on a whole vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from parsgd.core import FeaturePart, Rows
from parsgd.models.network import network_gradients, network_shared_state
from parsgd.models.network.forward import ACTIVATIONS, BLOCK_ROWS, DERIVATIVES, LOSSES, propagate
from parsgd.models.network.network_sgd_run import NetworkSGDRun
from parsgd.models.row_matrix import as_matrix, matrix_of

SOLVERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
SCHEDULES = ("constant", "invscaling", "adaptive")
STARTS = ("glorot", "he")
# Layers start on whole vectors of AVX-512.
_ALIGNED = 16
# OpenBLAS uses one thread for products of up to this many multiplications: 4 x 65536 (interface/gemm.c).
_ONE_THREAD_PRODUCT = 1 << 18


@dataclass(frozen=True)
class Network:
    """A network and its SGD hyperparameters; picklable.

    ``sizes``: units of all layers, input and output included. ``batch_size``: rows per step. ``alpha``: strength of the
    l2 penalty, or with ``adamw`` of the decay. ``clip_norm``: maximum norm of a step's gradient, or None. ``dropout``:
    probability with which a hidden unit is left out. ``sparse``: rows are CSR. ``seen``, ``rows_per_epoch``,
    ``steps_per_epoch`` and ``begun`` give ``invscaling`` the number of visited rows at a schedule step:
    scikit-learn lowers that rate at the end of an epoch.
    """

    sizes: tuple[int, ...]
    dtype: str = "float64"
    activation: str = "relu"
    loss: str = "softmax"
    loss_parameter: float = 1.0
    solver: str = "adam"
    alpha: float = 1e-4
    schedule: str = "constant"
    eta0: float = 1e-3
    power_t: float = 0.5
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None
    dropout: float = 0.0
    start: str = "glorot"
    batch_size: int = 200
    sparse: bool = False
    seen: float = 0.0
    rows_per_epoch: float = 1.0
    steps_per_epoch: float = 1.0
    begun: float = 1.0

    # all outputs train and stop together
    n_outputs = 1
    divergence = (
        "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
        " preprocessed. (At epoch #{epoch}, {what}. Scaling input data with StandardScaler or MinMaxScaler might help,"
        " or a smaller learning_rate_init.)"
    )
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"gradients", "averaging", "shared_steps", "full_gradient", "features", "compiled_rounds", "compiled_gradients"}
    )
    unavailable: ClassVar[dict[str, str]] = {}

    @property
    def uses_blas(self) -> bool:
        """True if OpenBLAS uses several threads for a product of this size.

        Setting their number takes longer than a small fit, and releases the GIL.
        """
        return any(self.batch_size * i * o > _ONE_THREAD_PRODUCT for i, o in pairwise(self.sizes))

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Start of each layer's parameters, and the end of the last one's."""
        begins = [0]
        for i, o in pairwise(self.sizes):
            begins.append(begins[-1] + -(-(i + 1) * o // _ALIGNED) * _ALIGNED)
        return tuple(begins)

    @property
    def n_parameters(self) -> int:
        """Length of the parameters, padding between layers included."""
        return self.blocks[-1]

    @property
    def n_gradients(self) -> int:
        """Length of a summed gradient: the parameters, and the summed weight of the examples."""
        return self.n_parameters + 1

    @property
    def n_slots(self) -> int:
        """Number of solver slots per parameter."""
        return {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}[self.solver]

    @property
    def nonnegative(self) -> slice:
        """Adam's second moments."""
        return slice(2 * self.n_parameters, 3 * self.n_parameters) if self.n_slots == 2 else slice(0, 0)

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.sizes[0]

    @property
    def feature_parts(self) -> tuple[FeaturePart, ...]:
        """The rows of the first layer's weights, and their solver slots."""
        return tuple(FeaturePart(slot * self.n_parameters, self.sizes[1]) for slot in range(1 + self.n_slots))

    @property
    def additive(self) -> slice:
        """Nothing: moments are averages over steps."""
        return slice(0, 0)

    @property
    def size(self) -> int:
        """Length of a state."""
        return self.n_parameters * (1 + self.n_slots)

    def parts(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views of the parameters, the first slot and the second slot; a missing slot is empty."""
        n = self.n_parameters
        return state[:n], state[n : 2 * n], state[2 * n : 3 * n]

    def views(self, state: np.ndarray) -> dict[str, list[np.ndarray]]:
        """Return ``coefs``, ``(n_in, n_out)`` each, and ``intercepts``, ``(n_out,)`` each.

        Writing to them writes to the state.
        """
        coefs: list[np.ndarray] = []
        intercepts: list[np.ndarray] = []
        for begin, (i, o) in zip(self.blocks, pairwise(self.sizes), strict=False):
            coefs.append(state[begin : begin + i * o].reshape(i, o))
            intercepts.append(state[begin + i * o : begin + (i + 1) * o])
        return {"coefs": coefs, "intercepts": intercepts}

    def init(self, seed: int) -> np.ndarray:
        """Draw initial weights, uniform in ``[-b, b]``.

        ``b = sqrt(6 / (n_in + n_out))`` (Glorot and Bengio 2010; for logistic units ``sqrt(2 / ...)``, as in
        scikit-learn) or ``b = sqrt(6 / n_in)`` (He et al. 2015).
        """
        return self.draw(np.random.RandomState(seed))

    def draw(self, random: np.random.RandomState) -> np.ndarray:
        """Draw the start state in scikit-learn's order: each layer's weights, then its biases."""
        state = np.zeros(self.size, dtype=self.dtype)
        views = self.views(state)
        for coef, intercept in zip(views["coefs"], views["intercepts"], strict=True):
            i, o = coef.shape
            if self.start == "he":
                bound = math.sqrt(6.0 / i)
            else:
                bound = math.sqrt((2.0 if self.activation == "logistic" else 6.0) / (i + o))
            coef[:] = random.uniform(-bound, bound, (i, o))
            intercept[:] = random.uniform(-bound, bound, o)
        return state

    def sgd_run(
        self,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float = 1.0,
        shared_scalars: np.ndarray | None = None,
    ) -> NetworkSGDRun:
        # schedule_step_size is not used: moments count steps, and decaying rates count epochs
        return NetworkSGDRun(self, state, schedule_step, lr_scale, seed, shared_scalars)

    gradient_sum, apply_gradient = network_gradients.gradient_sum, network_gradients.apply_gradient
    prepare_gradient_rounds = network_gradients.prepare_gradient_rounds
    shared_scalars, from_shared = network_shared_state.shared_scalars, network_shared_state.from_shared

    def finite(self, state: np.ndarray) -> bool:
        """Return True if the sum of the state is finite; an overflowing sum counts as divergence as well."""
        with np.errstate(invalid="ignore", over="ignore"):
            return bool(np.isfinite(state.sum()))

    def total_loss(self, losses: np.ndarray) -> float:
        """Return the network's single loss."""
        return float(losses[0])

    def max_lr_factor(self, schedule_step: float, n_workers: int) -> float:
        """Return the largest lr factor for workers whose states are averaged."""
        return float(n_workers)

    def log_contraction(self, schedule_step: float, steps: int) -> float:
        """Return ``steps log(1 - eta alpha / b)``: the log contraction between two runs by the penalty alone.

        A network's loss is not convex, so it gives no bound in advance. ``WeightedAverage(rule="measured")`` measures
        the contraction.
        """
        return steps * math.log(max(1.0 - self.eta0 * self.alpha / self.batch_size, 1e-300))

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray:
        """Return the products of the last layer ``(n_rows, n_out)``, before its prediction.

        ``x`` is a matrix, or rows in the kernels' format.
        """
        views = self.views(state)
        return propagate(matrix_of(x, self.sizes[0]), views["coefs"], views["intercepts"], self.activation)

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the weighted mean loss of the last layer's products ``(n_rows, n_out)``, and its gradient in them."""
        losses, error = LOSSES[self.loss].evaluate(decision, rows.y, self.loss_parameter)
        if rows.weight.size == 0:
            return float(losses.mean()), error / len(losses)
        share = rows.weight / rows.weight.sum(dtype=np.float64)
        return float(np.dot(losses, share)), error * share[:, None]

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float:
        """Return ``alpha / (2 b) sum_l |W_l|_2^2``, the penalty of batches of ``b`` rows.

        AdamW's decay is not part of an objective and gives 0.
        """
        if self.solver == "adamw" or self.alpha == 0.0:
            return 0.0
        state = state if end is None else (1.0 - part) * state + part * end
        squares = sum(float(np.vdot(coef, coef)) for coef in self.views(state)["coefs"])
        return 0.5 * self.alpha / self.batch_size * squares

    def predict(self, state: np.ndarray, x: Any) -> np.ndarray:
        """Return predictions ``(n_rows, n_out)``: probabilities, or means."""
        views = self.views(state)
        return propagate(x, views["coefs"], views["intercepts"], self.activation, self.loss)

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the objective and its gradient in the parameters (0 in the slots), without dropout.

        Computed on all of ``rows`` in NumPy and in the state's dtype. L-BFGS minimizes it, and tests compare the
        compiled steps with it.
        """
        x = as_matrix(rows, self.sizes[0])
        weight = rows.weight if rows.weight.size else np.ones(len(rows.y), dtype=state.dtype)
        share = float(weight.sum(dtype=np.float64))
        out = np.zeros_like(state)
        value = 0.0
        for begin in range(0, x.shape[0], BLOCK_ROWS):
            part = slice(begin, begin + BLOCK_ROWS)
            value += self._add_gradient(state, x[part], rows.y[part], weight[part], out)
        slopes, views = self.views(out), self.views(state)
        strength = 0.0 if self.solver == "adamw" else self.alpha
        for slope_, coef in zip(slopes["coefs"], views["coefs"], strict=True):
            slope_ += strength * coef
            value += 0.5 * strength * float(np.vdot(coef, coef))
        out /= share
        return value / share, out

    def _add_gradient(self, state: np.ndarray, x: Any, y: np.ndarray, weight: np.ndarray, out: np.ndarray) -> float:
        """Add the summed gradients of some rows to ``out``; return their summed loss."""
        views, slopes = self.views(state), self.views(out)
        products: list[np.ndarray] = []
        values: list[Any] = [x]
        for coef, intercept in zip(views["coefs"], views["intercepts"], strict=True):
            products.append(np.asarray(values[-1] @ coef) + intercept)
            values.append(ACTIVATIONS[self.activation](products[-1]))
        losses, error = LOSSES[self.loss].evaluate(products[-1], y, self.loss_parameter)
        error = error * weight[:, None]
        for layer in reversed(range(len(products))):
            slopes["coefs"][layer] += np.asarray(values[layer].T @ error)
            slopes["intercepts"][layer] += error.sum(axis=0)
            if layer > 0:
                error = (error @ views["coefs"][layer].T) * DERIVATIVES[self.activation](products[layer - 1])
        return float(np.dot(losses, weight))
