"""An outer step whose length, and with it the workers' learning rate, follows the loss on a few rows.

Averaging K workers divides the noise of their steps by K, so their rates could be up to K times the serial ones: then K
workers go as far in a pass as one does, with its noise.  Where rates are too large already, that would be ruin.  So

1. workers begin at ``gain = min(model.largest_gain, 1 / (eta c |x|^2))`` times the serial rate at the same number of
   examples of all workers together, ``c`` being the loss's curvature and ``|x|^2`` the rows' mean square length;
2. the merged move ``D`` is made shorter, ``w + s D`` with ``s <= 1`` the smallest
   ``L(w + s D) + d / 2 L(w) (s - 1)^2`` among falling ``s``: a step that does harm is cut, one that is a little too
   noisy is not, because steps of least loss at once are too short in the long run;
3. where the cut is deep, so is that of the gain from then on;
4. where no cut was needed and the model is linear, features that a worker saw too seldom to have settled are moved
   further: with ``a_k = l gain eta c h_k T`` the curvature that feature k met in the worker's T steps, its move is
   multiplied by ``(1 - e^(-K a_k)) / (1 - e^(-a_k))``, what K times as many steps would have made of it: K for rare
   features, 1 for frequent ones.  ``l`` falls from the number of values of a row, which is safe whatever features go
   together (Richtarik and Takac's separable over-approximation), for as long as the loss falls;
5. of a linear model the answer is not the last state but the mean of the states, the later ones counting more
   (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013).

The rows are drawn at random from those trained on: nothing is lost to the workers, and one number a round is too little
to learn them by heart.  This combination is ours; docs/results/family.md has what it does on six data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms import merging
from parsgd.algorithms.outer import Step
from parsgd.core import Report, Rows, Standing
from parsgd.errors import check_between, check_count

# Parts of a move that are tried, as long as each is better than the one before, and what the safe level of item 4 is
# divided by, likewise: 0 means K times the whole move.
_PARTS = (1.0, 0.7, 0.5, 0.35, 0.25, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 0.0)
_LEVELS = (1.0, 1 / 4, 1 / 16, 1 / 64, 0.0)
# A cut to less than this cuts the gain as well, but never to less than a quarter of it at once.
_DEEP_CUT, _DEEPEST = 0.6, 0.25
# Moving features further must lower the loss by this much a level.
_WORTH = 0.003
# Weight of the newest state in the mean: (this + 1) / (round + this + 1).
_DECAY = 8.0
# The curvature changes slowly, and is measured every so many rounds.
_CURVATURE_LASTS = 8
# At most this share of the rows is looked at: more would cost more than a round.
_MOST = 0.25


class _Memory(NamedTuple):
    trust: float
    mean: np.ndarray | None
    # mean squares of the features, of whole rows, and stored values a row; None where the model is not linear
    squares: np.ndarray | None
    length: float
    values: float
    curvature: float


@dataclass(frozen=True)
class Adaptive:
    """See the module: ``n_rows`` to look at, ``damping`` d >= 0 against cutting for noise alone."""

    n_rows: int = 1000
    damping: float = 0.5

    def __post_init__(self) -> None:
        check_count(self.n_rows, "n_rows", "Adaptive")
        check_between(self.damping, 0, float("inf"), "damping", "Adaptive")

    def looks_at(self, n_rows: int) -> int:
        return min(self.n_rows, int(_MOST * n_rows))

    def pace(self, n_workers: int) -> float:
        # the schedule goes by the examples of all workers together, as the serial one does
        return float(n_workers)

    def begin(self, standing: Standing) -> _Memory:
        if not standing.model.straight or standing.sample is None:
            return _Memory(1.0, None, None, 0.0, 0.0, 0.0)
        squares, values = _measures(standing.sample, standing.model.n_features)
        decision = standing.model.decision(standing.state, standing.sample.x)
        return _Memory(1.0, None, squares, float(squares.sum()) + 1.0, values, _curvature(standing, decision))

    def gain(self, standing: Standing, memory: _Memory) -> float:
        largest = standing.model.largest_gain(standing.clock, standing.n_workers)
        if memory.squares is not None:
            curved = self._eta(standing) * memory.curvature * memory.length
            largest = min(largest, 1.0 / max(curved, 1e-300))
        return 1.0 + memory.trust * (max(largest, 1.0) - 1.0)

    def _eta(self, standing: Standing) -> float:
        return float(standing.model.rates(np.array(standing.clock)))

    def step(self, standing: Standing, reports: Sequence[Report], weights: np.ndarray, memory: _Memory) -> Step:
        merged = merging.merge(standing.state, reports, weights).state
        if standing.sample is None or not np.any(weights):
            return Step(merged, memory)
        line = _Line(standing, merged)
        factor, least = self._shorter(line)
        state = merged if factor == 1.0 else line.at(factor)
        trust = memory.trust
        if memory.squares is not None and standing.round % _CURVATURE_LASTS == 0:
            memory = memory._replace(curvature=_curvature(standing, line.decisions[1.0]))
        if factor < _DEEP_CUT:
            trust *= max(factor, _DEEPEST)
        elif standing.model.straight:
            state = self._further(standing, reports, line, state, least, memory)
        memory = memory._replace(trust=trust)
        newest = (_DECAY + 1.0) / (standing.round + _DECAY + 1.0)
        mean = state.astype(np.float64) if memory.mean is None else memory.mean + newest * (state - memory.mean)
        return Step(state, memory._replace(mean=mean), mean.astype(state.dtype), factor)

    def _shorter(self, line: _Line) -> tuple[float, float]:
        """The part of the move to make, and the loss there."""

        def dearness(part: float) -> float:
            return line.loss(part) + 0.5 * self.damping * line.before * (part - 1.0) ** 2

        part = _descend(_PARTS, dearness)
        return part, line.loss(part)

    def _further(self, standing, reports, line, state, least, memory) -> np.ndarray:
        """The state with rare features moved further, if that lowers the loss; see item 4."""
        model, n_workers = standing.model, standing.n_workers
        steps = float(np.mean([report.steps for report in reports]))
        gain = float(standing.tasks[reports[0].worker].gains.max())
        met = memory.values * gain * self._eta(standing) * memory.curvature * steps * memory.squares
        move = line.move

        def moved(level: float) -> np.ndarray:
            a = np.minimum(level * met, 50.0)
            factors = np.where(a < 1e-7, n_workers, -np.expm1(-n_workers * a) / np.maximum(-np.expm1(-a), 1e-30))
            further = (standing.state + model.amplified(move, factors)).astype(state.dtype)
            return further

        best = state
        for rank, level in enumerate(_LEVELS):
            candidate = moved(level)
            loss = line.loss_of(candidate) * (1.0 + _WORTH * (rank + 1))
            if not loss < least:
                break
            best, least = candidate, loss
        return best


class _Line:
    """The loss on the sample along the merged move."""

    def __init__(self, standing: Standing, merged: np.ndarray):
        self.standing, self.merged = standing, merged
        self.move = merged.astype(np.float64) - standing.state
        model, sample = standing.model, standing.sample
        self.decisions = {0.0: model.decision(standing.state, sample.x), 1.0: model.decision(merged, sample.x)}
        self.losses: dict[float, float] = {}
        self.before = self.loss(0.0)

    def at(self, part: float) -> np.ndarray:
        """The state after this part of the move."""
        return (self.standing.state + part * self.move).astype(self.merged.dtype)

    def loss(self, part: float) -> float:
        if part not in self.losses:
            start, end = self.decisions[0.0], self.decisions[1.0]
            if part in self.decisions:
                decision = self.decisions[part]
            elif self.standing.model.straight:
                decision = start + part * (end - start)
            else:
                decision = self.standing.model.decision(self.at(part), self.standing.sample.x)
            self.losses[part] = self._mean(decision)
        return self.losses[part]

    def loss_of(self, state: np.ndarray) -> float:
        return self._mean(self.standing.model.decision(state, self.standing.sample.x))

    def _mean(self, decision: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.standing.model.mean_loss(decision, self.standing.sample)[0]
        return loss if np.isfinite(loss) else np.inf


def _descend(candidates: Sequence[float], dearness: Callable[[float], float]) -> float:
    """Go along the candidates while they get cheaper; dearness falls, then rises along them."""
    best, least = candidates[0], dearness(candidates[0])
    for candidate in candidates[1:]:
        value = dearness(candidate)
        if value > least:
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


def _curvature(standing: Standing, decision: np.ndarray) -> float:
    """Mean second derivative of the loss in the decisions, taken over one unit to either side."""
    decision = np.asarray(decision, dtype=np.float64)
    upper, lower = (standing.model.mean_loss(decision + side, standing.sample)[1] for side in (1.0, -1.0))
    return float(np.abs(upper - lower).sum()) / 2.0 / decision.shape[1]
