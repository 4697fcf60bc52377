"""Adaptive outer step: its length and the workers' learning rate follow the loss on a few probe rows.

Averaging K workers divides the noise of their steps by K.  Their learning rates may therefore be up to K times the
serial ones, if the serial rates are not too large already.  The method decides after merges 1, 4, 16 and so on of the
first pass and at the end of every pass; the merges between are plain means.  A displacement is that since the last
decision.  The method has five parts.

1. Workers start at ``lr_factor = min(model.max_lr_factor, 1 / (eta c |x|^2))`` times the serial rate at the same total
   number of examples.  ``c`` is the curvature of the loss and ``|x|^2`` the mean squared norm of the rows.
2. The driver shortens the merged displacement ``D`` to ``w + s D``, where ``s <= 1`` minimizes
   ``L(w + s D) + d / 2 |L(w)| (1 - s)^2``.  It tries decreasing ``s`` until the value rises.  Slightly noisy steps stay
   whole, because steps that minimize the loss at once are too short in the long run.
3. After a deep cut the driver also reduces the lr factor by the same ratio.  It does so as well when a worker's run
   diverged; that run is repeated at the serial rate or a lower one.
4. For linear models without a deep cut, the driver extends the displacement of rarely seen features.  With
   ``a_k = l lr_factor eta c h_k T``, the curvature that feature k met in the worker's T steps, the factor is
   ``(1 - e^(-K a_k)) / (1 - e^(-a_k))``.  This is what K times as many steps would have given: K for rare features, 1
   for frequent ones.  ``l`` starts at the number of values per row, which is safe for any dependence between features
   (Richtarik and Takac's separable over-approximation).  ``l`` decreases while the loss on the probe rows falls; the
   penalty is ignored here, because a longer shrinkage is no improvement.
5. The fitted state is the mean of the states, with larger weights on later states and on longer rounds
   (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013).

``L`` is the mean loss on the probe rows plus any decrease of the penalty.  An increase of the penalty is ignored:
weights grow for a long time before a small penalty limits them.  Steps cut for it fall behind: on ``enron_spam`` with
64 workers the loss was 7 % higher.  The driver draws the probe rows at random from the training rows; workers still
train on them.  One number per round is too little information to overfit the probe rows.  This combination is ours;
docs/results/family.md compares it with the other algorithms and with one tuned worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common.outer_optimizers import OuterStep, PlainOuterOptimizer
from parsgd.algorithms.merging import merge_weights
from parsgd.core import AveragingModel, CsrRows, FitState, MergeResult, Report, Rows, has_averaging, has_linear_state
from parsgd.errors import check_between, check_count

# Fractions `s` of the displacement, tried as long as each is better than the one before.
_FRACTIONS = (1.0, 0.7, 0.5, 0.35, 0.25, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 0.0)
# Factors on the safe level `l` of item 4, tried in the same way; 0 extends every feature K times.
_LEVELS = (1.0, 1 / 4, 1 / 16, 1 / 64, 0.0)
# A fraction below the first also reduces the lr factor, at most to the second per round.
_DEEP_CUT, _LARGEST_CUT = 0.6, 0.25
# Extending rare features is given up after this many failures in a row: each try evaluates the probe rows.
_MAX_FAILURES = 3
# Relative decrease of the loss that each level must reach.
_MIN_DECREASE = 0.003
# Weight of the newest state in the mean, for rounds of equal length: (this + 1) / (round + this + 1).
_DECAY = 8.0
# The next decision is due after this many times as many examples, or at the end of the pass.
_SPACING = 4
# Decisions between two measurements of the curvature, which changes slowly.
_CURVATURE_INTERVAL = 2
# Largest fraction of the rows used as probe rows; more would cost more than a round.
_MAX_PROBE_FRACTION = 0.25


class _Memory(NamedTuple):
    """State of the adaptive step between rounds.

    ``trust`` in the raised rates; ``workers`` that moved in the last round; ``mean`` of the states; ``decision`` and
    mean ``loss`` on the probe rows at the last state; ``failures`` in a row to extend rare features.  For linear models
    also the results of :func:`_feature_stats` and the ``curvature`` of the loss.  Since the last decision: the state
    ``start`` after it, the ``steps`` of all workers, and whether the run of a worker ``exploded``.
    The next decision is ``due`` at this number of examples, or at the end of the pass; ``decisions`` counts them.
    """

    trust: float
    workers: int
    mean: np.ndarray | None
    decision: np.ndarray | None
    loss: float
    failures: int
    # None where the model is not linear
    squares: np.ndarray | None
    length: float
    values: float
    curvature: float
    start: np.ndarray | None = None
    steps: int = 0
    exploded: bool = False
    due: int = 0
    decisions: int = 0


@dataclass(frozen=True)
class Adaptive(PlainOuterOptimizer):
    """Adaptive outer step of this module.

    ``n_rows`` is the number of probe rows, at most a quarter of all rows.  ``damping`` d >= 0 discourages cuts for
    noise alone.

    With one worker the step changes nothing.  Without probe rows the state moves to the mean, at serial rates.

    >>> Adaptive(damping=0)
    Adaptive(n_rows=2000, damping=0)
    """

    n_rows: int = 2000
    damping: float = 1.0

    requires = frozenset({"averaging"})
    raises_rates = True

    def __post_init__(self) -> None:
        check_count(self.n_rows, "n_rows", "Adaptive", optional=False)
        if self.damping != 0 or isinstance(self.damping, bool):
            check_between(self.damping, 0, float("inf"), "damping", "Adaptive")

    def n_probe_rows(self, n_rows: int) -> int:
        return min(self.n_rows, int(_MAX_PROBE_FRACTION * n_rows))

    def schedule_step_size(self, n_workers: int) -> float:
        # the schedule counts the examples of all workers together, as the serial one does
        return float(n_workers)

    def init_memory(self, fit_state: FitState) -> _Memory:
        if not _has_probe_rows(fit_state):
            return _Memory(1.0, fit_state.n_workers, None, None, 0.0, 0, None, 0.0, 0.0, 0.0)
        model, sample = _model(fit_state), _probe_rows(fit_state)
        decision = model.decision(fit_state.state, sample.x)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = _inf_if_nan(model.mean_loss(decision, sample)[0])
        if not has_linear_state(model):
            return _Memory(1.0, fit_state.n_workers, None, decision, loss, 0, None, 0.0, 0.0, 0.0)
        squares, values = _feature_stats(sample, model.n_features)
        length = float(squares.sum()) + 1.0
        curvature = _curvature(fit_state, decision)
        return _Memory(1.0, fit_state.n_workers, None, decision, loss, 0, squares, length, values, curvature)

    def lr_factor(self, fit_state: FitState, memory: _Memory) -> float:
        if not _has_probe_rows(fit_state):
            return 1.0
        largest = _model(fit_state).max_lr_factor(fit_state.schedule_step, memory.workers)
        if memory.squares is not None:
            largest_curvature = self._eta(fit_state) * memory.curvature * memory.length
            largest = min(largest, 1.0 / max(largest_curvature, 1e-300))
        return 1.0 + memory.trust * (max(largest, 1.0) - 1.0)

    def _eta(self, fit_state: FitState) -> float:
        model = fit_state.model
        assert has_linear_state(model)
        return float(model.rates(np.array(fit_state.schedule_step)))

    def is_due(self, fit_state: FitState, examples: int, memory: _Memory) -> bool:
        if not _has_probe_rows(fit_state):
            return False
        before, n_rows = fit_state.examples, max(fit_state.n_rows, 1)
        return before + examples >= memory.due or (before + examples) // n_rows > before // n_rows

    def answer_weight(self, fit_state: FitState, examples: int) -> float:
        share = examples / max(fit_state.examples + examples, 1)
        return (_DECAY + 1.0) * share / (_DECAY * share + 1.0)

    def step(self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult, memory: _Memory) -> OuterStep:
        if not _has_probe_rows(fit_state):
            return OuterStep(merged.state, memory)
        examples = sum(report.examples for report in reports)
        memory = self.skip_rounds(fit_state, sum(report.steps for report in reports), memory)
        memory = memory._replace(
            workers=int(np.count_nonzero(merged.weights)),
            exploded=memory.exploded
            or any(np.any(report.lr_scale < fit_state.task_of(report.worker).lr_scale) for report in reports),
        )
        newest = self.answer_weight(fit_state, examples)
        if merged.answer is not None:
            memory = memory._replace(mean=merged.answer)
        if not self.is_due(fit_state, examples, memory):
            if merged.answer is None:
                memory = memory._replace(mean=_mean(memory.mean, merged.state, newest))
            return OuterStep(merged.state, memory, memory.mean)
        # after a diverged run, every loss is infinite
        with np.errstate(over="ignore", invalid="ignore"):
            step = self._adapt(fit_state, reports, merged.state, memory)
        mean = _mean(memory.mean, step.state, newest)
        step = step._replace(memory=step.memory._replace(mean=mean), answer=mean)
        seen = fit_state.examples + examples
        memory = step.memory._replace(start=None, steps=0, exploded=False)
        return step._replace(memory=memory._replace(due=_SPACING * seen, decisions=memory.decisions + 1))

    def skip_rounds(self, fit_state: FitState, steps: int, memory: _Memory) -> _Memory:
        if not _has_probe_rows(fit_state):
            return memory
        start = fit_state.state if memory.start is None else memory.start
        return memory._replace(start=start, steps=memory.steps + steps)

    def _adapt(self, fit_state: FitState, reports: Sequence[Report], merged: np.ndarray, memory: _Memory) -> OuterStep:
        line = _LineSearch(fit_state, memory, merged)
        factor = self._best_fraction(line)
        state, decision, loss = line.at(factor), line.decision(factor), line.data_loss(factor)
        if memory.squares is not None and memory.decisions % _CURVATURE_INTERVAL == 0:
            memory = memory._replace(curvature=_curvature(fit_state, decision))
        if factor < _DEEP_CUT or memory.exploded:
            cut = _LARGEST_CUT if memory.exploded else max(factor, _LARGEST_CUT)
            memory = memory._replace(trust=memory.trust * cut)
        elif memory.squares is not None and memory.failures < _MAX_FAILURES:
            further = self._extend_rare_features(fit_state, reports, line, factor, memory, memory.squares)
            memory = memory._replace(failures=memory.failures + 1 if further is None else 0)
            state, decision, loss = further or (state, decision, loss)
        return OuterStep(state, memory._replace(decision=decision, loss=loss), None, factor)

    def _best_fraction(self, line: _LineSearch) -> float:
        """Return the fraction of the displacement to apply."""
        unit = abs(line.loss(0.0))

        def damping_term(part: float) -> float:
            # no damping on the whole displacement, even if the loss before it is infinite
            return 0.5 * self.damping * unit * (1.0 - part) ** 2 if part < 1.0 else 0.0

        whole, next_one = _FRACTIONS[:2]
        if line.lower_bound(next_one) + damping_term(next_one) >= line.loss(whole):
            return whole
        return _descend(_FRACTIONS, lambda part: line.loss(part) + damping_term(part))

    def _extend_rare_features(
        self,
        fit_state: FitState,
        reports: Sequence[Report],
        line: _LineSearch,
        factor: float,
        memory: _Memory,
        squares: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Extend the displacement of rare features (item 4).

        Returns
        -------
        tuple or None
            State, decisions and loss, or None if the loss did not fall enough.
        """
        n_workers, model, sample = memory.workers, fit_state.model, line.sample
        assert has_linear_state(model)
        steps = memory.steps / n_workers
        lr_scale = float(fit_state.task_of(reports[0].worker).lr_scale.max())
        curvatures = memory.values * lr_scale * self._eta(fit_state) * memory.curvature * steps * squares
        move, best, least = line.move(), None, line.data_loss(factor)
        # most features of wide data occur in none of the probe rows
        seen, factors = np.flatnonzero(curvatures), np.full(len(curvatures), float(n_workers))
        for rank, level in enumerate(_LEVELS):
            a = np.minimum(level * curvatures[seen], 50.0)
            ratio = -np.expm1(-n_workers * a) / np.maximum(-np.expm1(-a), 1e-30)
            factors[seen] = np.where(a < 1e-7, n_workers, ratio)
            state = line.start + model.scale_features(move, factors)
            decision = model.decision(state, sample.x)
            loss = _inf_if_nan(model.mean_loss(decision, sample)[0])
            cost = loss + _MIN_DECREASE * (rank + 1) * abs(loss)
            if not cost < least:
                break
            best, least = (state, decision, loss), cost
        return best


class _LineSearch:
    """Loss along the line from the state after the last decision to the merged one.

    Decisions and loss at the start are known.  Most displacements are applied whole; this takes one evaluation of the
    probe rows at the end point, for its loss and a lower bound on the loss before it.
    """

    def __init__(self, fit_state: FitState, memory: _Memory, merged: np.ndarray):
        self.model, self.sample, self.merged = _model(fit_state), _probe_rows(fit_state), merged
        self.is_linear = has_linear_state(self.model)
        assert memory.start is not None
        self.start: np.ndarray = memory.start
        self.states = {0.0: self.start, 1.0: merged}
        assert memory.decision is not None
        self.decisions = {0.0: memory.decision, 1.0: self.model.decision(merged, self.sample.x)}
        loss, gradient = self.model.mean_loss(self.decisions[1.0], self.sample)
        self.data_losses, self.gradient = {0.0: memory.loss, 1.0: _inf_if_nan(loss)}, gradient
        self.penalty = self.model.penalty_value(self.start)

    def move(self) -> np.ndarray:
        return self.merged - self.start

    def at(self, part: float) -> np.ndarray:
        """Return the state after this fraction of the displacement."""
        if part not in self.states:
            ends, weights = [self.start, self.merged], np.array([1.0 - part, part])
            self.states[part] = merge_weights.weighted_sum(ends, weights)
        return self.states[part]

    def decision(self, part: float) -> np.ndarray:
        if part not in self.decisions:
            start, end = self.decisions[0.0], self.decisions[1.0]
            self.decisions[part] = (
                start + part * (end - start) if self.is_linear else self.model.decision(self.at(part), self.sample.x)
            )
        return self.decisions[part]

    def data_loss(self, part: float) -> float:
        """Return the mean loss after this fraction, without the penalty."""
        if part not in self.data_losses:
            loss = self.model.mean_loss(self.decision(part), self.sample)[0]
            self.data_losses[part] = _inf_if_nan(loss)
        return self.data_losses[part]

    def penalty_change(self, part: float) -> float:
        """Return the change of the penalty, at most 0; infinite if the penalty is not finite."""
        if self.is_linear:
            penalty = self.model.penalty_value(self.start, self.merged, part)
        else:
            penalty = self.model.penalty_value(self.at(part))
        return min(penalty - self.penalty, 0.0) if np.isfinite(penalty) else np.inf

    def loss(self, part: float) -> float:
        """Return L after this fraction of the displacement."""
        return self.data_loss(part) + (self.penalty_change(part) if part else 0.0)

    def lower_bound(self, part: float) -> float:
        """Return a lower bound of L after this fraction, from the tangent at the end point.

        The bound holds if the loss is convex in the decisions and these are linear in ``part``.  A network's decisions
        are nearly linear along one round's displacement.  If the whole displacement raises the loss, the bound is
        ``-inf``: the end point may be so far off that gradients are clipped.
        """
        if not self.data_losses[1.0] <= self.data_losses[0.0] < np.inf:
            return -np.inf
        slope = float(np.vdot(self.gradient, self.decisions[1.0] - self.decisions[0.0]))
        bound = self.data_losses[1.0] - (1.0 - part) * slope + self.penalty_change(part)
        return bound if np.isfinite(bound) else -np.inf


def _mean(mean: np.ndarray | None, state: np.ndarray, newest: float) -> np.ndarray:
    """Return the mean of the states, in which the last one has the weight ``newest``."""
    return state if mean is None else merge_weights.weighted_sum([mean, state], np.array([1.0 - newest, newest]))


def _inf_if_nan(loss: float) -> float:
    return loss if np.isfinite(loss) else np.inf


def _has_probe_rows(fit_state: FitState) -> bool:
    """Return True if there are probe rows with a nonzero weight."""
    sample = fit_state.sample
    return sample is not None and (sample.weight.size == 0 or bool(np.any(sample.weight)))


def _model(fit_state: FitState) -> AveragingModel:
    assert has_averaging(fit_state.model)
    return fit_state.model


def _probe_rows(fit_state: FitState) -> Rows:
    assert fit_state.sample is not None
    return fit_state.sample


def _descend(candidates: Sequence[float], cost: Callable[[float], float]) -> float:
    """Return the candidate of the first minimum of ``cost``, skipping infinite costs at the start."""
    best, least = candidates[0], cost(candidates[0])
    for candidate in candidates[1:]:
        value = cost(candidate)
        if value >= least and least < np.inf:
            break
        best, least = candidate, value
    return best


def _feature_stats(sample: Rows, n_features: int) -> tuple[np.ndarray, float]:
    """Return the mean square of each feature ``(n_features,)`` and the stored values per row."""
    x, n = sample.x, max(len(sample.y), 1)
    data = x.data.astype(np.float64)
    if isinstance(x, CsrRows):
        return np.bincount(x.indices, data * data, n_features) / n, len(data) / n
    return np.square(data).reshape(n, -1).mean(axis=0), float(n_features)


def _curvature(fit_state: FitState, decision: np.ndarray) -> float:
    """Estimate the mean second derivative of the loss in a decision, over one unit to either side; inf if unknown.

    The estimate perturbs decisions by random signs: the mean of ``s . H s`` is the trace of H (Hutchinson).  This suits
    outputs with separate losses and softmax, which does not change when all outputs of a row move equally.
    """
    decision = np.asarray(decision, dtype=np.float64)
    signs = _random_signs(decision.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        model, sample = _model(fit_state), _probe_rows(fit_state)
        upper, lower = (model.mean_loss(decision + side, sample)[1] for side in (signs, -signs))
        curvature = float(np.sum(signs * (upper - lower))) / 2.0 / decision.shape[1]
    return max(curvature, 0.0) if np.isfinite(curvature) else np.inf


@lru_cache(maxsize=4)
def _random_signs(shape: tuple[int, ...]) -> np.ndarray:
    """Return the same read-only array of -1 and 1 at every call."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], shape)
    signs.flags.writeable = False
    return signs
