"""Linear models: ``decision(x) = x . coef + intercept``, one output or several.

Objective, over examples i with weights s_i::

    1/n sum_i s_i loss(y_i, x_i . w + b) + alpha ((1 - l1_ratio) / 2 |w|_2^2 + l1_ratio |w|_1)

The state is ``coef (n_features, n_outputs)`` feature-major, ``intercept (n_outputs,)``, and optimizer slots if they are
used: the running mean of the iterates (Polyak and Ruppert), the l1 penalty applied to each weight so far, the sums of
squared gradients (AdaGrad). Kernels work on the state directly, and its parts are the results of a fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from parsgd.core import FeaturePart, Rows
from parsgd.errors import InvalidArgumentError
from parsgd.kernels.linear.hyperparams import NEGLIGIBLE, Hyperparams, pad_to_lanes
from parsgd.kernels.losses import Loss, UserLoss, describe
from parsgd.kernels.lowlevel.gil_threshold import get_gil_threshold
from parsgd.models.linear import linear_gradients, linear_shared_state
from parsgd.models.linear.linear_adagrad import AdagradRun
from parsgd.models.linear.linear_auto import AutoRun, FeatureScales
from parsgd.models.linear.linear_sgd_run import LinearSGDRun, spread, without_cache
from parsgd.models.row_matrix import matrix_of
from parsgd.utils import first_use

SCHEDULES = ("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2", "adagrad", "auto")
# schedules with a sum of squared gradients for each weight
SQUARES = ("adagrad", "auto")
# scikit-learn's factor on the intercept's steps for sparse rows, where the intercept changes far more often than a
# weight.
_SPARSE_INTERCEPT_DECAY = 0.01
_CAPABILITIES = frozenset({"gradients", "averaging", "linear_state", "shared_steps", "full_gradient", "features"})
_COMPILED = frozenset({"compiled_rounds", "compiled_gradients"})


@dataclass(frozen=True)
class Linear:
    """A linear model and its SGD hyperparameters; picklable.

    ``loss`` is a name of :mod:`parsgd.kernels.losses` or an object with ``loss(self, y, p)`` and
    ``gradient(self, y, p)``.
    ``loss_parameter`` is the threshold, epsilon or quantile. ``positive`` and ``negative`` are the class weights of
    examples inside and outside each output's class. ``average`` is the first step whose iterate is averaged, 0 for no
    averaging. ``sparse`` means CSR rows. ``measured`` computes the regularized objective, which the stopping rule
    needs.
    """

    n_features: int
    n_outputs: int = 1
    dtype: str = "float64"
    loss: str | UserLoss = "hinge"
    loss_parameter: float = 0.0
    penalty: str | None = "l2"
    alpha: float = 1e-4
    l1_ratio: float = 0.15
    schedule: str = "optimal"
    eta0: float = 0.01
    power_t: float = 0.5
    fit_intercept: bool = True
    sparse: bool = False
    one_class: bool = False
    average: int = 0
    batch_size: int = 1
    measured: bool = True
    uses_blas = False
    divergence = ""
    positive: tuple[float, ...] = (1.0,)
    negative: tuple[float, ...] = (1.0,)
    scales: FeatureScales | None = None

    @property
    def described_loss(self) -> Loss:
        """Everything that is known about the loss."""
        return describe(self.loss)

    @property
    def unavailable(self) -> dict[str, str]:
        """Capabilities that the parameters disable, with the reason."""
        if self.average:
            why = f"average={self.average} computes the mean of one worker's iterates; use average=False"
        elif self.schedule in SQUARES:
            why = f"learning_rate={self.schedule!r} delays each weight's penalty until its next step"
            why += "; use another learning_rate"
        else:
            return {}
        found = {"shared_steps": why}
        if self.schedule == "auto":
            found["gradients"] = "learning_rate='auto' limits the step of each row; use another learning_rate"
        return found

    @cached_property
    def capabilities(self) -> frozenset[str]:
        offered = _CAPABILITIES - self.unavailable.keys()
        if self.described_loss.is_compiled_separately:
            # code that may raise
            return offered
        # averages of iterates, and steps whose number depends on the data
        has_own_rounds = self.average or self.schedule in ("pa1", "pa2")
        if self.schedule == "auto":
            return offered
        return offered | (_COMPILED - {"compiled_rounds"} if has_own_rounds else _COMPILED)

    @property
    def l1_share(self) -> float:
        """Share of the penalty that is l1: 0 for l2, 1 for l1."""
        return {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio, None: 0.0}[self.penalty]

    @property
    def truncates(self) -> bool:
        return self.penalty in ("l1", "elasticnet")

    @property
    def n_lanes(self) -> int:
        """Length of the kernels' work space for one number per output: whole vectors, if there are several outputs."""
        return 1 if self.n_outputs == 1 else pad_to_lanes(self.n_outputs)

    @property
    def padded_size(self) -> int:
        """Length of the weights; with one output and dense rows, padded with zeros to whole vectors."""
        if self.n_outputs == 1 and not self.sparse:
            return pad_to_lanes(self.n_features)
        return self.n_features * self.n_outputs

    @cached_property
    def layout(self) -> dict[str, slice]:
        """Slices of the named parts of the state."""
        sizes = {"coef": self.padded_size, "intercept": self.n_outputs}
        if self.average:
            sizes |= {"mean_coef": self.padded_size, "mean_intercept": self.n_outputs}
        if self.schedule in SQUARES:
            sizes |= {"squares": self.padded_size, "intercept_squares": self.n_outputs}
        elif self.truncates:
            sizes |= {"paid": self.padded_size, "penalty": self.n_outputs}
        ends = list(accumulate(sizes.values()))
        return {name: slice(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}

    @property
    def nonnegative(self) -> slice:
        """AdaGrad's sums of squares, at the end of the state."""
        return slice(self.layout["squares"].start, self.size) if "squares" in self.layout else slice(0, 0)

    @property
    def feature_parts(self) -> tuple[FeaturePart, ...]:
        """The weights, their means, the l1 penalty applied to each weight, and AdaGrad's sums of squares."""
        names = [name for name in ("coef", "mean_coef", "paid", "squares") if name in self.layout]
        return tuple(FeaturePart(self.layout[name].start, self.n_outputs, name == "squares") for name in names)

    @property
    def additive(self) -> slice:
        """AdaGrad's sums of squares."""
        return self.nonnegative

    @property
    def n_gradients(self) -> int:
        """Length of a summed gradient: weights with their padding, intercepts, and the number of examples."""
        return self.padded_size + self.n_outputs + 1

    @property
    def size(self) -> int:
        return max(part.stop for part in self.layout.values())

    def part(self, state: np.ndarray, name: str) -> np.ndarray:
        """Return a part of the state, padding included; empty if the model lacks the part."""
        return state[self.layout.get(name, slice(0, 0))]

    def views(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Return named views into a state, without the padding; writing to them writes to the state."""
        views: dict[str, np.ndarray] = {}
        for name in self.layout:
            values = self.part(state, name)
            if name in ("coef", "mean_coef", "paid", "squares"):
                values = values[: self.n_features * self.n_outputs].reshape(-1, self.n_outputs)
            views[name] = values
        return views

    def init(self, seed: int) -> np.ndarray:
        """Return zeros; the objective is convex, so every start state leads to the same solution."""
        if self.described_loss.is_compiled_separately:
            # compiled here in the driver: a worker thread would deadlock if this fit runs during a module's import
            self.compiled_loss()
        return np.zeros(self.size, dtype=self.dtype)

    @property
    def optimal_start(self) -> float:
        """t0 of the optimal schedule: the first learning rate is ``alpha^(-1/4)``, the size of a typical weight."""
        return 1.0 / (self.alpha * self.alpha**-0.25) if self.alpha > 0 else 1.0

    def rates(self, clocks: np.ndarray) -> np.ndarray:
        """Return the learning rate at the given schedule steps, before the lr scale."""
        if self.schedule == "optimal":
            return 1.0 / (self.alpha * (self.optimal_start + clocks - 1.0))
        if self.schedule == "invscaling":
            return self.eta0 / clocks**self.power_t
        return np.full(np.shape(clocks), self.eta0)

    def max_lr_factor(self, schedule_step: float, n_workers: int) -> float:
        """Return the largest lr factor for workers whose states are averaged: ``n_workers``.

        The optimal schedule starts at the largest rate that typical weights allow. There the factor is as if each
        worker counted its own steps only: ``(t0 + t) / (t0 + t / n_workers)``. Passive-aggressive steps reach their
        target exactly, so the factor is 1. AdaGrad's factor is 1 too: sums of squares are averaged, so rates already
        follow a worker's own steps.
        """
        if self.schedule in ("pa1", "pa2", *SQUARES):
            return 1.0
        if self.schedule == "optimal":
            return (self.optimal_start + schedule_step) / (self.optimal_start + schedule_step / n_workers)
        return float(n_workers)

    def log_contraction(self, schedule_step: float, steps: int) -> float:
        """Return ``sum_t log(1 - eta_t alpha)`` over ``steps`` steps: the log contraction between two runs.

        A step on an l2-regularized loss brings two runs on the same examples closer by at least ``1 - eta_t alpha``
        (Zinkevich et al. 2010, lemma 3). With the optimal schedule the product telescopes to ``(t0 + clock - 2) / (t0 +
        clock + steps - 2)``. The lemma does not cover l1 and AdaGrad, which give 0.
        """
        if self.schedule in SQUARES or self.penalty is None or self.truncates and self.l1_share == 1.0 or steps == 0:
            return 0.0
        decay = self.alpha * (1.0 - self.l1_share)
        if self.schedule in ("constant", "adaptive", "pa1", "pa2"):
            return steps * math.log(max(1.0 - decay * self.eta0, 1e-300))
        if self.schedule == "optimal" and decay == self.alpha and self.optimal_start + schedule_step > 2.0:
            return math.log(
                (self.optimal_start + schedule_step - 2.0) / (self.optimal_start + schedule_step + steps - 2.0)
            )
        # steps are summed in 2000 groups, the first ones of one step each: exact to one part in a thousand
        edges = np.unique(np.rint(np.geomspace(schedule_step, schedule_step + steps, 2000)))
        middle = (edges[1:] + edges[:-1] - 1.0) / 2.0
        return float(np.sum(np.diff(edges) * np.log(np.maximum(1.0 - decay * self.rates(middle), 1e-300))))

    def sgd_run(
        self,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float = 1.0,
        shared_scalars: np.ndarray | None = None,
    ) -> LinearSGDRun:
        if self.schedule == "auto":
            return AutoRun(self, state, schedule_step, lr_scale, schedule_step_size)
        if self.schedule == "adagrad":
            return AdagradRun(self, state, schedule_step, lr_scale, schedule_step_size)
        return LinearSGDRun(self, state, schedule_step, lr_scale, schedule_step_size, shared_scalars)

    gradient_sum, apply_gradient = linear_gradients.gradient_sum, linear_gradients.apply_gradient
    prepare_gradient_rounds, gradient = linear_gradients.prepare_gradient_rounds, linear_gradients.full_gradient
    shared_scalars, from_shared = linear_shared_state.shared_scalars, linear_shared_state.from_shared

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray:
        """Return decision values ``(n_rows, n_outputs)`` of the weights, not of their averages.

        ``x`` is a matrix, or rows in the kernels' format.
        """
        views = self.views(state)
        return np.asarray(matrix_of(x, self.n_features) @ views["coef"]) + views["intercept"]

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """Return the mean loss, summed over outputs, of decisions ``(n_rows, n_outputs)``, and its gradient in them."""
        values, gradients = self.losses(decision, rows.y)
        factor = self.example_factors(rows.y, rows.weight if rows.weight.size else np.ones(len(rows.y)))
        n = max(len(rows.y), 1)
        return float((factor * values).sum()) / n, factor * gradients / n

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float:
        """Return ``alpha ((1 - l1_ratio) / 2 |w|_2^2 + l1_ratio |w|_1)``, summed over outputs.

        One-class models add ``alpha b``, the offset's part of the objective. With ``end`` the weights are those at the
        fraction ``part`` of the way from ``state`` to ``end``.
        """
        far = [(1.0 - part, state)] if part != 1.0 else []
        if end is not None and part != 0.0:
            far.append((part, end))
        share, total = 0.0 if self.penalty is None else self.l1_share, 0.0
        coefs = [(length, self.part(there, "coef")) for length, there in far]
        if self.scales is not None:
            # the penalty is that of the scaled features
            coefs = [(length, self.scales.scaled(self.views(there)["coef"])) for length, there in far]
        if self.penalty is not None and share < 1.0:
            # computed from products of both ends, without forming the point between them
            squares = sum(a * b * float(np.vdot(v, w)) for a, v in coefs for b, w in coefs)
            total += 0.5 * (1.0 - share) * squares
        if share > 0.0:
            total += share * float(np.abs(sum(a * v for a, v in coefs)).sum(dtype=np.float64))
        if self.one_class:
            total += sum(a * float(self.views(there)["intercept"].sum()) for a, there in far)
        return self.alpha * total

    def scale_features(self, move: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Scale the move of each feature's weights by ``factors (n_features,)``."""
        out = move.copy()
        self.views(out)["coef"][:] *= factors[:, None]
        return out

    def finite(self, state: np.ndarray) -> bool:
        """Return True if all parameters are finite; a sum in float64 cannot hide a NaN or infinity."""
        with np.errstate(invalid="ignore", over="ignore"):
            return bool(np.isfinite(state.sum(dtype=np.float64)))

    def total_loss(self, losses: np.ndarray) -> float:
        """Reduce the outputs' losses to one number: the sum, or softmax's single loss."""
        return float(losses[0] if self.described_loss.joint else losses.sum())

    def compiled_loss(self) -> Any:
        """Return the loss in the kernels' form."""
        loss, parameter = self.described_loss, float(self.loss_parameter)
        if not loss.is_compiled_separately:
            return first_use.kernels("loss_kernels").BuiltinLoss(loss.code, parameter)
        user_losses = first_use.kernels("user_losses")
        if loss.user is not None:
            return user_losses.convert_user_loss(loss.user)
        if loss.formula is None:
            raise InvalidArgumentError(
                f"The loss {loss.name!r} is not known in this process. Register it in a module that workers import."
            )
        return user_losses.convert_formula(loss.name, loss.formula, parameter)

    def make_hyperparams(self, schedule_step_size: float = 1.0) -> Hyperparams:
        """Return the hyperparameters as the kernels' record."""
        return Hyperparams(
            loss=self.compiled_loss(),
            schedule=SCHEDULES.index(self.schedule),
            alpha=float(self.alpha),
            l1_ratio=float(self.l1_share),
            has_l2=self.penalty in ("l2", "elasticnet"),
            has_l1=self.truncates,
            has_penalty=self.penalty is not None,
            eta0=float(self.eta0),
            power_t=float(self.power_t),
            optimal_start=float(self.optimal_start),
            fit_intercept=bool(self.fit_intercept),
            intercept_decay=self.intercept_decay,
            is_one_class=bool(self.one_class),
            average_from=int(self.average),
            steps_per_tick=float(schedule_step_size),
            batch_size=int(self.batch_size),
            tracks_objective=bool(self.measured),
            release_gil_from=get_gil_threshold(),
            n_outputs=int(self.n_outputs),
            tiles=first_use.kernels("linear.row_ops_multi").choose_tiles(self.n_outputs),
            positive_weight=spread(self.positive, self.n_lanes, np.float64),
            negative_weight=spread(self.negative, self.n_lanes, np.float64),
        )

    def losses(self, margins: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(values, gradients)`` at ``margins (n_rows, n_outputs)``; softmax has one value per row."""
        margins = np.asarray(margins, dtype=np.float64)
        if self.described_loss.joint:
            shifted = margins - margins.max(axis=1, keepdims=True)
            gradients = np.where(shifted < -NEGLIGIBLE, 0.0, np.exp(shifted))
            total = gradients.sum(axis=1, keepdims=True)
            gradients /= total
            rows = np.arange(len(y))
            values = np.log(total) - shifted[rows, y][:, None]
            gradients[rows, y] -= 1.0
            return values, gradients
        if self.n_outputs > 1:
            y = np.where(y[:, None] == np.arange(self.n_outputs), 1.0, -1.0)
        if margins.size != len(y):  # one target for the margins of several states
            y = np.broadcast_to(y.reshape(len(y), -1), margins.shape)
        targets = np.ascontiguousarray(y, dtype=np.float64).ravel()
        values, gradients = np.empty(margins.size), np.empty(margins.size)
        evaluate_all = first_use.kernels("loss_kernels").evaluate_all
        loss = self.compiled_loss()
        function: Any = (
            without_cache(evaluate_all, loss) if self.described_loss.is_compiled_separately else evaluate_all
        )
        function(loss, targets, np.ascontiguousarray(margins).ravel(), gradients, values)
        return values.reshape(margins.shape), gradients.reshape(margins.shape)

    def example_factors(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the weight of each example times its class weight.

        The shape is ``(n_rows, n_outputs)``, or one column for a single output and for softmax.
        """
        if set(self.positive) == set(self.negative) == {1.0}:
            return np.repeat(weight[:, None], 1 if self.described_loss.joint else self.n_outputs, axis=1)
        positive, negative = np.asarray(self.positive), np.asarray(self.negative)
        if self.described_loss.joint:
            return (weight * positive[y])[:, None]
        if self.n_outputs > 1:
            return weight[:, None] * np.where(y[:, None] == np.arange(self.n_outputs), positive, negative)
        class_weights = np.asarray(np.where(y > 0, positive[0], negative[0]), dtype=positive.dtype)
        return (weight * class_weights)[:, None]

    @property
    def intercept_decay(self) -> float:
        """Factor on the intercept's steps."""
        return _SPARSE_INTERCEPT_DECAY if self.sparse else 1.0
