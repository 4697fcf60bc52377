"""SGD steps of a linear model with several outputs: one-vs-rest with any loss, or softmax.

The step is that of :mod:`parsgd.kernels.linear.single` for each output.  Weights are feature-major:
``w[feature * n_outputs + output]``.  So each row is read twice in all, not twice per output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.hyperparams import NEGLIGIBLE
from parsgd.kernels.linear.row_ops import U, compute_squared_norm, count_values_per_row, get_feature, get_span
from parsgd.kernels.linear.row_ops_multi import add_outputs, add_outputs_with_norms, dot_outputs
from parsgd.kernels.linear.run_state import (
    INTERCEPT,
    L1_NORM,
    LOSS,
    LOSS_FACTOR,
    LR_SCALE,
    MEAN_INTERCEPT,
    PENALTY_SUM,
    SCALE,
    SCALE_SUM,
    SCHEDULE_STEP,
    SCHEDULE_STEPS_TAKEN,
    SQUARED_NORM,
    TOTAL_PENALTY,
)
from parsgd.kernels.linear.single import CACHED_BYTES, compute_passive_step, prefetch_next_rows, prefetch_next_weights
from parsgd.kernels.loss_kernels import evaluate, evaluate_outputs, fold_factor
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.fast_exp import exp
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.schedules import PA1, PA2, compute_learning_rate

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams


@inlined
def evaluate_softmax(margins: np.ndarray, n_outputs: int, target: int, gradients: np.ndarray) -> tuple[float, float]:
    """Set ``gradients[k] = softmax(margins)[k] - [k = target]``; returns the loss as ``(l, f)``."""
    max_margin = margins[U(0)]
    for k in range(U(n_outputs)):
        max_margin = margins[k] if margins[k] > max_margin else max_margin
    total = 0.0
    for k in range(U(n_outputs)):
        shifted = margins[k] - max_margin
        e = 0.0 if shifted < -NEGLIGIBLE else exp(shifted)
        gradients[k] = e
        total += e
    for k in range(U(n_outputs)):
        gradients[k] /= total
    gradients[U(target)] -= 1.0
    return max_margin - margins[U(target)], total


@inlined
def fold_scales(w: np.ndarray, mean: np.ndarray, n_outputs: int, run_state: np.ndarray) -> None:
    """Multiply the scales into the weights before they underflow."""
    for j in range(U(0), U(w.shape[0]), n_outputs):
        for k in range(n_outputs):
            at = j + k
            if mean.shape[0] > 0:
                mean[at] += run_state[SCALE_SUM, k] * w[at]
            w[at] *= run_state[SCALE, k]
    for k in range(n_outputs):
        run_state[SCALE_SUM, k] = 0.0
        run_state[SCALE, k] = 1.0


@inlined
def apply_l1_outputs(
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    mean: np.ndarray,
    applied_l1: np.ndarray,
    n_outputs: int,
    run_state: np.ndarray,
) -> None:
    """Apply the cumulative l1 penalty to the weights of a row's features, for every output."""
    begin, end = get_span(x, row)
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_outputs
        for k in range(n_outputs):
            if run_state[LR_SCALE, k] == 0.0:  # a converged output keeps its weights
                continue
            scale, total_l1 = run_state[SCALE, k], run_state[TOTAL_PENALTY, k]
            before = w[at + U(k)]
            after = before
            if scale * before > 0.0:
                after = w.dtype.type(larger(0.0, before - (total_l1 + applied_l1[at + U(k)]) / scale))
            elif scale * before < 0.0:
                after = w.dtype.type(smaller(0.0, before + (total_l1 - applied_l1[at + U(k)]) / scale))
            w[at + U(k)] = after
            applied_l1[at + U(k)] += scale * (after - before)
            if mean.shape[0] > 0:
                mean[at + U(k)] -= run_state[SCALE_SUM, k] * (after - before)


@inlined
def compute_steps(
    gradients: np.ndarray, target: int, eta: float, steps: np.ndarray, run_state: np.ndarray, hyperparams: Hyperparams
) -> bool:
    """Set ``steps[k] = -eta lr_scale_k class_weight_k gradients[k]``; returns whether any step is not 0."""
    moved = False
    for k in range(steps.shape[0]):
        class_weight = hyperparams.positive_weight[k] if target == k else hyperparams.negative_weight[k]
        step = -eta * gradients[k] * run_state[LR_SCALE, k] * class_weight
        steps[k] = step
        moved |= step != 0.0
    return moved


@inlined
def compute_passive_steps(
    scores: np.ndarray,
    target: int,
    row_weight: float,
    norm: float,
    steps: np.ndarray,
    run_state: np.ndarray,
    hyperparams: Hyperparams,
) -> bool:
    """Compute the passive-aggressive steps; returns whether any is not 0."""
    moved = False
    for k in range(hyperparams.n_outputs):
        gradient, l, f = evaluate(hyperparams.loss, 1.0 if target == k else -1.0, scores[k])
        run_state[LOSS, k] += l
        run_state[LOSS_FACTOR, k] *= f
        step = compute_passive_step(hyperparams, norm, gradient, l + np.log(f))
        class_weight = hyperparams.positive_weight[k] if target == k else hyperparams.negative_weight[k]
        step *= class_weight * run_state[LR_SCALE, k] * row_weight
        steps[k] = step
        moved |= step != 0.0
    return moved


@inlined
def add_penalties(run_state: np.ndarray, hyperparams: Hyperparams) -> float:
    """Add each output's penalty to its sum; returns the total of all outputs, which softmax needs."""
    total, l1_ratio = 0.0, hyperparams.l1_ratio
    for k in range(U(hyperparams.n_outputs)):
        penalty = (1.0 - l1_ratio) * 0.5 * run_state[SQUARED_NORM, k] + l1_ratio * run_state[L1_NORM, k]
        run_state[PENALTY_SUM, k] += hyperparams.alpha * penalty
        total += hyperparams.alpha * penalty
    return total


def make_run(
    decorate: Callable[[Callable[..., int]], Callable[..., int]], is_softmax: bool, full: bool, shared: bool
) -> Callable[..., int]:
    """Make the SGD run for several outputs, compiled by ``decorate``.

    ``is_softmax``: softmax loss, else one-vs-rest.  ``full``, ``shared``: as for one output.
    """

    @decorate
    def run_multi(
        x, y, weight, order, start, stop, w, mean, applied_l1, buffer, scratch, tiny_scale, run_state, hyperparams
    ):
        """Visit ``order[start:stop]``; ``w``, ``mean`` and ``applied_l1`` are ``(n_features * n_outputs,)``.

        Returns the end of the visit; with ``shared`` it may be before ``stop``, at a tiny scale.  Work space:
        ``buffer`` (batch, n_lanes) and ``scratch``, a pair of arrays ``(3, n_lanes)`` in the type of the weights and
        ``(2, n_lanes)`` in float64.  ``n_lanes`` is ``n_outputs``, rounded up to whole vectors.
        """
        token = np.int64(0)
        if not shared:
            n_values = (stop - start) * count_values_per_row(x) * buffer.shape[1]
            token = release_gil(n_values >= hyperparams.release_gil_from)
        n_outputs, n_lanes = U(hyperparams.n_outputs), U(buffer.shape[1])
        vectors, numbers = scratch
        margins, squares, l1_norms = vectors[0], vectors[1], vectors[2]
        scores, gradients = numbers[0], numbers[1]
        l1_ratio = hyperparams.l1_ratio
        has_weights = weight.shape[0] > 0
        passive = full and (hyperparams.schedule == PA1 or hyperparams.schedule == PA2)
        adds_penalty = hyperparams.tracks_objective and hyperparams.has_penalty and not passive
        min_shrink = tiny_scale if shared else 0.0
        exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
        losses, loss_factors = run_state[LOSS], run_state[LOSS_FACTOR]
        # softmax has one loss for all outputs
        loss_sum, loss_factor, penalty_sum = run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0]
        t = run_state[SCHEDULE_STEP, 0]
        first = start
        while first < stop:
            last = smaller(first + hyperparams.batch_size, stop)
            inverse_batch = 1.0 / (last - first)
            eta = compute_learning_rate(hyperparams, t)
            moved = False
            skipped = False
            for i in range(first, last):
                prefetch_next_rows(x, y, order, i)
                if exceeds_cache:
                    prefetch_next_weights(x, order, i, w, n_outputs)
                row = order[U(i)]
                target = y[U(row)]
                dot_outputs(hyperparams.tiles, x, row, w, n_outputs, margins)
                for k in range(n_lanes):
                    scores[k] = margins[k] * run_state[SCALE, k] + run_state[INTERCEPT, k]
                if adds_penalty:
                    penalty_sum += add_penalties(run_state, hyperparams)
                row_weight = weight[U(row)] * inverse_batch if has_weights else inverse_batch
                steps = buffer[i - first]
                if full and passive:
                    norm = float(compute_squared_norm(x, row))
                    skipped = hyperparams.schedule == PA1 and norm == 0.0
                    moved |= compute_passive_steps(scores, target, row_weight, norm, steps, run_state, hyperparams)
                elif is_softmax:
                    l, f = evaluate_softmax(scores, n_outputs, target, gradients)
                    loss_sum, loss_factor = fold_factor(loss_sum + l, loss_factor * f)
                    unit = -eta * row_weight * hyperparams.positive_weight[U(target)]
                    for k in range(n_outputs):
                        steps[k] = unit * gradients[k] * run_state[LR_SCALE, k]
                    moved = True
                else:
                    n = hyperparams.n_outputs
                    evaluate_outputs(hyperparams.loss, target, scores, gradients, losses, loss_factors, n)
                    moved |= compute_steps(gradients, target, eta * row_weight, steps, run_state, hyperparams)
                if not is_softmax and i & 15 == 0:  # 16 factors, each at most n_outputs, cannot overflow
                    for k in range(n_outputs):
                        losses[k], loss_factors[k] = fold_factor(losses[k], loss_factors[k])
            if full and skipped and last - first == 1:
                first = last
                continue
            if hyperparams.has_l2:
                tiny = False
                for k in range(n_lanes):
                    decay = (1.0 - l1_ratio) * eta * run_state[LR_SCALE, k] * hyperparams.alpha
                    shrink = larger(min_shrink, 1.0 - decay)
                    run_state[SCALE, k] *= shrink
                    tiny |= run_state[SCALE, k] < tiny_scale
                    if hyperparams.tracks_objective:
                        run_state[SQUARED_NORM, k] *= shrink * shrink
                        run_state[L1_NORM, k] *= shrink
                if shared and tiny:
                    # other workers use the weights: finish this step and return, so that the scales are folded
                    stop = last
                elif tiny:
                    fold_scales(w, mean, n_outputs, run_state)
            if moved:
                for i in range(first, last):
                    row = order[U(i)]
                    steps = buffer[i - first]
                    if hyperparams.fit_intercept:
                        for k in range(n_lanes):
                            run_state[INTERCEPT, k] += steps[k] * hyperparams.intercept_decay
                    for k in range(n_lanes):
                        steps[k] /= run_state[SCALE, k]
                    if hyperparams.tracks_objective:
                        add_outputs_with_norms(hyperparams.tiles, x, row, steps, w, n_outputs, squares, l1_norms)
                        for k in range(n_outputs):
                            if steps[k] != 0.0:
                                scale = run_state[SCALE, k]
                                run_state[SQUARED_NORM, k] = squares[k] * scale * scale
                                run_state[L1_NORM, k] = l1_norms[k] * scale
                    else:
                        add_outputs(hyperparams.tiles, x, row, steps, w, n_outputs)
                    if full and 0 < hyperparams.average_from <= t:
                        for k in range(n_outputs):
                            steps[k] *= -run_state[SCALE_SUM, k]
                        add_outputs(hyperparams.tiles, x, row, steps, mean, n_outputs)
            if full and 0 < hyperparams.average_from <= t:
                for k in range(n_outputs):
                    if run_state[LR_SCALE, k] > 0.0:
                        run_state[SCALE_SUM, k] += run_state[SCALE, k]
                        run_state[MEAN_INTERCEPT, k] += (run_state[INTERCEPT, k] - run_state[MEAN_INTERCEPT, k]) / (
                            (t - hyperparams.average_from) / hyperparams.steps_per_tick + 1.0
                        )
            if full and hyperparams.has_l1:
                for k in range(n_outputs):
                    run_state[TOTAL_PENALTY, k] += l1_ratio * eta * run_state[LR_SCALE, k] * hyperparams.alpha
                for i in range(first, last):
                    apply_l1_outputs(x, order[U(i)], w, mean, applied_l1, n_outputs, run_state)
            t += hyperparams.steps_per_tick
            first = last
        run_state[SCHEDULE_STEPS_TAKEN, 0] += t - run_state[SCHEDULE_STEP, 0]
        for k in range(n_outputs):
            run_state[SCHEDULE_STEP, k] = t
            if is_softmax:
                losses[k], loss_factors[k], run_state[PENALTY_SUM, k] = loss_sum, loss_factor, penalty_sum
        reacquire_gil(token)
        return first

    return run_multi


run_sgd_softmax: Callable[..., int] = make_run(kernel, True, False, False)
run_sgd_softmax_full: Callable[..., int] = make_run(kernel, True, True, False)
run_sgd_multi: Callable[..., int] = make_run(kernel, False, False, False)
run_sgd_multi_full: Callable[..., int] = make_run(kernel, False, True, False)
