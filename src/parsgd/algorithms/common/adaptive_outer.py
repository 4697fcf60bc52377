"""An outer step whose length, and with it the workers' learning rate, follows the loss on a few rows.

Averaging K workers divides the noise of their steps by K, so their rates could be up to K times the serial ones: then K
workers go as far in a pass as one does, with its noise.  Where rates are too large already, that would be ruin.  So

1. workers begin at ``gain = min(model.largest_gain, 1 / (eta c |x|^2))`` times the serial rate at the same number of
   examples of all workers together, ``c`` being the loss's curvature and ``|x|^2`` the rows' mean square length;
2. the merged move ``D`` is made shorter, ``w + s D`` with the ``s <= 1`` of the smallest
   ``L(w + s D) + d / 2 |L(w)| (1 - s)^2``, of which falling ``s`` are tried until it rises: a step that does harm is
   cut, one that is a little too noisy is not, because steps of least loss at once are too short in the long run;
3. where the cut is deep, so is that of the gain from then on, as it is where a worker's run exploded: it is made
   again at the serial rate, or a lower one;
4. where no deep cut was needed and the model is linear, features that a worker saw too seldom to have settled are moved
   further: with ``a_k = l gain eta c h_k T`` the curvature that feature k met in the worker's T steps, its move is
   multiplied by ``(1 - e^(-K a_k)) / (1 - e^(-a_k))``, what K times as many steps would have made of it: K for rare
   features, 1 for frequent ones.  ``l`` falls from the number of values of a row, which is safe whatever features go
   together (Richtarik and Takac's separable over-approximation), for as long as the loss on the rows falls (not the
   penalty: a shrinkage made K times as long is no gain);
5. the answer is not the last state but the mean of the states, the later ones and those of longer rounds counting more
   (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013).

``L`` is the mean loss on a few rows, and what the penalty falls by.  That it rises is not held against a move: weights
grow for long before a small penalty holds them, and steps cut for it stay behind (``enron_spam``, 64 workers: 5 % above
serial's loss instead of 2 % below).  The rows are drawn at random from those trained on: nothing is lost to the
workers, and one number a round is too little to learn them by heart.  This combination is ours; docs/results/family.md
has what it does on six data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.outer_optimizers import OuterStep
from parsgd.core import FitState, Report, Rows
from parsgd.errors import check_between, check_count

# Parts of a move that are tried, as long as each is better than the one before, and what the safe level of item 4 is
# divided by, likewise: 0 means K times the whole move.
_PARTS = (1.0, 0.7, 0.5, 0.35, 0.25, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 0.0)
_LEVELS = (1.0, 1 / 4, 1 / 16, 1 / 64, 0.0)
# A cut to less than this cuts the gain as well, but never to less than a quarter of it at once.
_DEEP_CUT, _DEEPEST = 0.6, 0.25
# Where moving features further has failed so many times in a row it is tried no more: it costs a look at the rows.
_TRIES = 3
# Moving features further must lower the loss by this much a level.
_WORTH = 0.003
# Weight of the newest state in the mean, of rounds alike: (this + 1) / (round + this + 1).
_DECAY = 8.0
# The curvature changes slowly, and is measured every so many rounds.
_CURVATURE_LASTS = 8
# At most this share of the rows is looked at: more would cost more than a round.
_MOST = 0.25


class _Memory(NamedTuple):
    """``trust`` in raised rates; how many workers moved in the last round; the mean of the states; the decisions at the
    last state, and their mean loss; how often in a row moving features further has failed; and of a linear model what
    :func:`_measures` gives, and the loss's curvature."""

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


@dataclass(frozen=True)
class Adaptive:
    """See the module: ``n_rows`` to look at, at most a quarter of all; ``damping`` d >= 0 against cutting for noise
    alone.

    With one worker it looks at nothing and changes nothing; where there are no rows to look at, it goes to the mean, at
    rates that are not raised.

    >>> Adaptive(damping=0)
    Adaptive(n_rows=2000, damping=0)
    """

    n_rows: int = 2000
    damping: float = 1.0

    raises_rates = True

    def __post_init__(self) -> None:
        check_count(self.n_rows, "n_rows", "Adaptive", optional=False)
        if self.damping != 0 or isinstance(self.damping, bool):
            check_between(self.damping, 0, float("inf"), "damping", "Adaptive")

    def n_probe_rows(self, n_rows: int) -> int:
        return min(self.n_rows, int(_MOST * n_rows))

    def schedule_step_size(self, n_workers: int) -> float:
        # the schedule goes by the examples of all workers together, as the serial one does
        return float(n_workers)

    def init_memory(self, standing: FitState) -> _Memory:
        if not _sees(standing):
            return _Memory(1.0, standing.n_workers, None, None, 0.0, 0, None, 0.0, 0.0, 0.0)
        decision = standing.model.decision(standing.state, standing.sample.x)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = _inf_if_nan(standing.model.mean_loss(decision, standing.sample)[0])
        if not standing.model.is_linear:
            return _Memory(1.0, standing.n_workers, None, decision, loss, 0, None, 0.0, 0.0, 0.0)
        squares, values = _measures(standing.sample, standing.model.n_features)
        length = float(squares.sum()) + 1.0
        curvature = _curvature(standing, decision)
        return _Memory(1.0, standing.n_workers, None, decision, loss, 0, squares, length, values, curvature)

    def lr_factor(self, standing: FitState, memory: _Memory) -> float:
        if not _sees(standing):
            return 1.0
        largest = standing.model.max_lr_factor(standing.schedule_step, memory.workers)
        if memory.squares is not None:
            curved = self._eta(standing) * memory.curvature * memory.length
            largest = min(largest, 1.0 / max(curved, 1e-300))
        return 1.0 + memory.trust * (max(largest, 1.0) - 1.0)

    def _eta(self, standing: FitState) -> float:
        return float(standing.model.rates(np.array(standing.schedule_step)))

    def step(self, standing: FitState, reports: Sequence[Report], weights: np.ndarray, memory: _Memory) -> OuterStep:
        merged = merge_weights.merge(standing.state, reports, weights, standing.model.nonnegative).state
        if not _sees(standing):
            return OuterStep(merged, memory)
        # where a run exploded, all that comes of it is infinitely dear
        with np.errstate(over="ignore", invalid="ignore"):
            return self._judged(standing, reports, merged, memory._replace(workers=int(np.count_nonzero(weights))))

    def _judged(self, standing: FitState, reports: Sequence[Report], merged: np.ndarray, memory: _Memory) -> OuterStep:
        line = _LineSearch(standing, memory, merged)
        factor = self._shorter(line)
        state, decision, loss = line.at(factor), line.decision(factor), line.bare_loss(factor)
        if memory.squares is not None and standing.round % _CURVATURE_LASTS == 0:
            memory = memory._replace(curvature=_curvature(standing, decision))
        exploded = any(np.any(report.lr_scale < standing.tasks[report.worker].lr_scale) for report in reports)
        if factor < _DEEP_CUT or exploded:
            cut = _DEEPEST if exploded else max(factor, _DEEPEST)
            memory = memory._replace(trust=memory.trust * cut)
        elif standing.model.is_linear and memory.failures < _TRIES:
            further = self._further(standing, reports, line, factor, memory)
            memory = memory._replace(failures=memory.failures + 1 if further is None else 0)
            state, decision, loss = further or (state, decision, loss)
        mean = self._mean(standing, reports, memory.mean, state)
        return OuterStep(state, memory._replace(decision=decision, loss=loss, mean=mean), mean, factor)

    def _mean(
        self, standing: FitState, reports: Sequence[Report], mean: np.ndarray | None, state: np.ndarray
    ) -> np.ndarray:  # fmt: skip
        if mean is None:
            return state
        examples = sum(report.examples for report in reports)
        share = examples / max(standing.examples + examples, 1)
        newest = (_DECAY + 1.0) * share / (_DECAY * share + 1.0)
        return merge_weights.weighted_sum([mean, state], np.array([1.0 - newest, newest]))

    def _shorter(self, line: _LineSearch) -> float:
        """The part of the move to make."""
        unit = abs(line.loss(0.0))

        def surcharge(part: float) -> float:
            # the whole move pays nothing, be the loss before it infinite
            return 0.5 * self.damping * unit * (1.0 - part) ** 2 if part < 1.0 else 0.0

        whole, next_one = _PARTS[:2]
        if line.at_least(next_one) + surcharge(next_one) >= line.loss(whole):
            return whole
        return _descend(_PARTS, lambda part: line.loss(part) + surcharge(part))

    def _further(
        self, standing: FitState, reports: Sequence[Report], line: _LineSearch, factor: float, memory: _Memory
    ) -> tuple[np.ndarray, np.ndarray, float] | None:
        """The state with rare features moved further, the decisions and their loss there, if that lowers it; see item
        4."""
        n_workers = memory.workers
        steps = sum(report.steps for report in reports) / n_workers
        gain = float(standing.tasks[reports[0].worker].lr_scale.max())
        met = memory.values * gain * self._eta(standing) * memory.curvature * steps * memory.squares
        move, best, least = line.move(), None, line.bare_loss(factor)
        # most features of wide data are in none of the rows that are looked at
        seen, factors = np.flatnonzero(met), np.full(len(met), float(n_workers))
        for rank, level in enumerate(_LEVELS):
            a = np.minimum(level * met[seen], 50.0)
            ratio = -np.expm1(-n_workers * a) / np.maximum(-np.expm1(-a), 1e-30)
            factors[seen] = np.where(a < 1e-7, n_workers, ratio)
            state = standing.state + standing.model.amplified(move, factors)
            decision = standing.model.decision(state, standing.sample.x)
            loss = _inf_if_nan(standing.model.mean_loss(decision, standing.sample)[0])
            dear = loss + _WORTH * (rank + 1) * abs(loss)
            if not dear < least:
                break
            best, least = (state, decision, loss), dear
        return best


class _LineSearch:
    """What a state is judged by, along the merged move from the state before, whose decisions and loss are known.

    Most whole moves are made as they are, and all that this takes is one look at where they end: the loss there, and by
    its slope a bound on the loss before it.
    """

    def __init__(self, standing: FitState, memory: _Memory, merged: np.ndarray):
        self.standing, self.model, self.merged = standing, standing.model, merged
        self.states = {0.0: standing.state, 1.0: merged}
        self.decisions = {0.0: memory.decision, 1.0: self.model.decision(merged, standing.sample.x)}
        loss, gradient = self.model.mean_loss(self.decisions[1.0], standing.sample)
        self.bare_losses, self.gradient = {0.0: memory.loss, 1.0: _inf_if_nan(loss)}, gradient
        self.penalty = self.model.penalty_value(standing.state)

    def move(self) -> np.ndarray:
        return self.merged - self.standing.state

    def at(self, part: float) -> np.ndarray:
        """The state after this part of the move."""
        if part not in self.states:
            ends, weights = [self.standing.state, self.merged], np.array([1.0 - part, part])
            self.states[part] = merge_weights.weighted_sum(ends, weights)
        return self.states[part]

    def decision(self, part: float) -> np.ndarray:
        if part not in self.decisions:
            start, end = self.decisions[0.0], self.decisions[1.0]
            self.decisions[part] = (
                start + part * (end - start)
                if self.model.is_linear
                else self.model.decision(self.at(part), self.standing.sample.x)
            )
        return self.decisions[part]

    def bare_loss(self, part: float) -> float:
        """The mean loss after this part of the move, without the penalty."""
        if part not in self.bare_losses:
            loss = self.model.mean_loss(self.decision(part), self.standing.sample)[0]
            self.bare_losses[part] = _inf_if_nan(loss)
        return self.bare_losses[part]

    def fall(self, part: float) -> float:
        """What the penalty falls by, as a number that is not above 0; infinite if it is not finite."""
        ends = (self.standing.state, self.merged, part) if self.model.is_linear else (self.at(part),)
        penalty = self.model.penalty_value(*ends)
        return min(penalty - self.penalty, 0.0) if np.isfinite(penalty) else np.inf

    def loss(self, part: float) -> float:
        """L of the state after this part of the move."""
        return self.bare_loss(part) + (self.fall(part) if part else 0.0)

    def at_least(self, part: float) -> float:
        """What L is at least there if the loss is convex in decisions, which lie on a line: it lies above its tangents.

        A network's decisions lie near a line along moves as short as one round's.  Where the whole move raises the
        loss nothing is known, and so ``-inf``: it may be so far off that gradients are clipped.
        """
        if not self.bare_losses[1.0] <= self.bare_losses[0.0] < np.inf:
            return -np.inf
        slope = float(np.vdot(self.gradient, self.decisions[1.0] - self.decisions[0.0]))
        bound = self.bare_losses[1.0] - (1.0 - part) * slope + self.fall(part)
        return bound if np.isfinite(bound) else -np.inf


def _inf_if_nan(loss: float) -> float:
    return loss if np.isfinite(loss) else np.inf


def _sees(standing: FitState) -> bool:
    """Whether there are rows to judge by; those that weigh nothing say nothing."""
    sample = standing.sample
    return sample is not None and (sample.weight.size == 0 or bool(np.any(sample.weight)))


def _descend(candidates: Sequence[float], dearness: Callable[[float], float]) -> float:
    """Go along the candidates while they get cheaper; dearness falls, then rises along them.  Of what is infinitely
    dear one goes on."""
    best, least = candidates[0], dearness(candidates[0])
    for candidate in candidates[1:]:
        value = dearness(candidate)
        if value >= least and least < np.inf:
            break
        best, least = candidate, value
    return best


def _measures(sample: Rows, n_features: int) -> tuple[np.ndarray, float]:
    """Mean square of each feature ``(n_features,)``, and stored values a row."""
    x, n = sample.x, max(len(sample.y), 1)
    data = x.data.astype(np.float64)
    if hasattr(x, "indices"):
        return np.bincount(x.indices, data * data, n_features) / n, len(data) / n
    return np.square(data).reshape(n, -1).mean(axis=0), float(n_features)


def _curvature(standing: FitState, decision: np.ndarray) -> float:
    """Mean second derivative of the loss in a decision, taken over one unit to either side; infinite if unknown.

    Decisions move by random signs, ``s . H s`` being on average the trace of H (Hutchinson): where outputs have a loss
    each, the signs are squared away; softmax does not change when all of a row's move alike.
    """
    decision = np.asarray(decision, dtype=np.float64)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], decision.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        upper, lower = (standing.model.mean_loss(decision + side, standing.sample)[1] for side in (signs, -signs))
        curvature = float(np.sum(signs * (upper - lower))) / 2.0 / decision.shape[1]
    return max(curvature, 0.0) if np.isfinite(curvature) else np.inf
