"""What a pass and a round cost, guessed from the sizes of the data and constants measured here, before any fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from parsgd.training.cost_model import CostModel, round_seconds

# Seconds for a stored value and for a row, one output, one core: benchmarks/figures/equal_work.py, rounded.
_SECONDS_PER_DENSE_VALUE, _SECONDS_PER_SPARSE_VALUE, _SECONDS_PER_ROW = 0.7e-9, 2.5e-9, 20e-9
# Further outputs share the reading of the row: 16 of them double its time.
_OUTPUTS_THAT_DOUBLE = 16
# Waking the workers and waiting for the last; copying, merging and taking up one parameter: once a round.
_SECONDS_PER_ROUND, _SECONDS_PER_MERGED_PARAMETER = 0.5e-3, 7e-9
# What an adaptive step spends on a row that it looks at: for a value, for a loss; more outputs share the reading worse
# than in the kernels.  Measured on the five linear sets of docs/results/family.md, rounded.
_SECONDS_PER_SPARSE_LOOK, _SECONDS_PER_DENSE_LOOK, _SECONDS_PER_LOSS = 4e-9, 1e-9, 40e-9
_OUTPUTS_LOOKED_AT_THAT_DOUBLE = 4
# A product's numbers a second on one core, the solver's passes over its slots, what a step costs besides, and what a
# round does: benchmarks/figures/networks.py, rounded.  A stored value's work for one unit of the first layer: measured
# once, on 20,000 sparse rows of 75 values and 100 units.
_FLOPS, _SECONDS_PER_SLOT, _SECONDS_PER_STEP, _SECONDS_PER_SPARSE_UNIT = 80e9, 0.5e-9, 5e-6, 0.3e-9
_SECONDS_PER_NETWORK_ROUND, _SECONDS_PER_NETWORK_PARAMETER = 0.8e-3, 4e-9
# With a thousand rows per worker nothing was lost, on synthetic data and on those of docs/results/family.md; with 336
# digits lost 0.8 points.
_FEWEST_ROWS = 1000
# With fewer steps between two averages a worker of a network gets nowhere: a guess, on the careful side.
_FEWEST_STEPS = 10
# Averages a pass of networks, for each worker and in all: docs/results/family.md.
_ROUNDS_A_WORKER, _FEWEST_ROUNDS, _MOST_ROUNDS = 5, 10, 100
# Two workers on 10,000 rows, 1000-900-10: 30,700 rows a second with 500 looked at, 37,400 with 100, 42,300 without.
_LOOKS_AT_ONE_OF, _FEWEST_LOOKED_AT, _MOST_LOOKED_AT = 100, 100, 500
# Rounds may add this share to the time: what they gain in accuracy is worth more (docs/results/family.md).
_ROUNDS_SHARE = 0.25
# Of a network's pass by one worker, an average may take this share before a second worker brings too little.
_DEAREST_SHARE = 0.1


@dataclass(frozen=True)
class ProblemSize:
    """What is known of a problem before it is fitted."""

    n_rows: int
    n_values: int
    n_features: int
    n_outputs: int
    sparse: bool = False
    # several classes, each against the rest
    one_against_all: bool = False

    # of a convex objective the mean of solutions is nearly one, too
    convex = True
    # on how many rows an adaptive step is judged: fewer were not enough on enron_spam, more gained nothing
    looked_at = 2000
    wake_seconds = _SECONDS_PER_ROUND

    def rounds(self, n_workers: int) -> tuple[int, int]:
        """How many averages a pass are worth having, and with how many fewer accuracy suffers."""
        return 10, 5

    @property
    def epoch_seconds(self) -> float:
        """Time of a pass on one core, roughly."""
        per_value = _SECONDS_PER_SPARSE_VALUE if self.sparse else _SECONDS_PER_DENSE_VALUE
        reading = self.n_values * per_value + self.n_rows * _SECONDS_PER_ROW
        return reading * (1.0 + (self.n_outputs - 1) / _OUTPUTS_THAT_DOUBLE)

    @property
    def n_parameters(self) -> int:
        return (self.n_features + 1) * self.n_outputs

    @property
    def combine_seconds(self) -> float:
        """The driver's time for a merge and an adaptive step, roughly."""
        values = self.n_values / max(self.n_rows, 1) * (1.0 + (self.n_outputs - 1) / _OUTPUTS_LOOKED_AT_THAT_DOUBLE)
        per_value = _SECONDS_PER_SPARSE_LOOK if self.sparse else _SECONDS_PER_DENSE_LOOK
        looking = self.looked_at * (values * per_value + self.n_outputs * _SECONDS_PER_LOSS)
        return self.n_parameters * _SECONDS_PER_MERGED_PARAMETER + looking

    def too_many(self, n_workers: int) -> str | None:
        """Why so many workers would do harm, or None."""
        rows = self.n_rows // n_workers
        if rows < _FEWEST_ROWS:
            return f"a worker would have {rows} rows, and an average of models of few rows may predict worse"
        return None


@dataclass(frozen=True)
class NetworkSize:
    """What is known of a network and its data before it is fitted."""

    n_rows: int
    n_values: int
    layers: tuple[int, ...]
    batch_size: int
    n_slots: int
    sparse: bool = False

    convex = False
    # the last batch of the other worker included
    wake_seconds = _SECONDS_PER_NETWORK_ROUND

    def rounds(self, n_workers: int) -> tuple[int, int]:
        """How many averages a pass are worth having, and with how many fewer accuracy suffers: the workers of a network
        part the sooner, the more they are."""
        wanted = min(max(_FEWEST_ROUNDS, _ROUNDS_A_WORKER * n_workers), _MOST_ROUNDS)
        return wanted, wanted // 2

    @property
    def looked_at(self) -> int:
        """On how many rows an adaptive step is judged: of ten averages a pass, with up to two looks each at one row in
        a hundred, the driver's products are a fifteenth of all that two workers do."""
        return min(max(self.n_rows // _LOOKS_AT_ONE_OF, _FEWEST_LOOKED_AT), _MOST_LOOKED_AT)

    @property
    def n_parameters(self) -> int:
        """Numbers in the state: parameters and the solver's slots."""
        return self._weights * (1 + self.n_slots)

    @property
    def combine_seconds(self) -> float:
        """The driver's time for a merge and an adaptive step, roughly."""
        # two looks at the rows at the most, forward only
        looking = 4.0 * self.looked_at * sum(i * o for i, o in pairwise(self.layers)) / _FLOPS
        return self.n_parameters * _SECONDS_PER_NETWORK_PARAMETER + looking

    @property
    def _weights(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.layers))

    @property
    def epoch_seconds(self) -> float:
        """Time of a pass on one core, roughly."""
        products = [i * o for i, o in pairwise(self.layers)]
        # forward, gradient, and backward past every layer but the first: two numbers each
        flops = 2.0 * self.n_rows * (3.0 * sum(products) - products[0])
        seconds = flops / _FLOPS
        if self.sparse:
            seconds -= 4.0 * self.n_rows * products[0] / _FLOPS
            seconds += 2.0 * self.n_values * self.layers[1] * _SECONDS_PER_SPARSE_UNIT
        steps = self.n_rows / self.batch_size
        return seconds + steps * (_SECONDS_PER_STEP + self._weights * self.n_slots * _SECONDS_PER_SLOT)

    def too_many(self, n_workers: int) -> str | None:
        """Why so many workers would do harm, or None."""
        steps = self.n_rows / self.batch_size / n_workers
        if steps < _FEWEST_STEPS:
            return f"a worker would make {steps:.0f} steps a pass: too few between averages"
        part, each = self.epoch_seconds / n_workers, self.wake_seconds + self.combine_seconds
        if each > _DEAREST_SHARE * part:
            times = f"about {1e3 * each:.1f} ms, a worker's pass {1e3 * part:.1f} ms"
            return f"an average takes {times}: little time to gain, and on few rows some accuracy to lose"
        return None


def costs_of(size: ProblemSize | NetworkSize, n_threads: int) -> CostModel:
    """The guesses as :mod:`parsgd.training.cost_model` takes costs, for so many threads at most."""
    wake = dict.fromkeys(range(2, n_threads + 1), size.wake_seconds)
    return CostModel(size.n_rows, size.epoch_seconds / max(size.n_rows, 1), wake_s=wake)


def costs_on(engine: Any, size: ProblemSize | NetworkSize, n_workers: int) -> CostModel:
    """The costs on an engine: those it knows itself (``costs(n_rows, n_parameters)``: one with a clock of its own);
    the guesses, with what its messages take (``message_costs(n_parameters)``, seconds and bytes a second: one whose
    workers are elsewhere); or those of threads."""
    if hasattr(engine, "costs"):
        return engine.costs(size.n_rows, size.n_parameters)
    if not hasattr(engine, "message_costs"):
        return costs_of(size, n_workers)
    latency, bandwidth = engine.message_costs(size.n_parameters)
    guessed = costs_of(size, 1)
    state_bytes = 8 * size.n_parameters
    return replace(guessed, state_bytes=state_bytes, latency_s=latency, bandwidth_bytes_per_s=bandwidth)


def rounds_of(costs: CostModel, n_workers: int, size: ProblemSize | NetworkSize) -> int:
    """Averages a pass: as many as are worth having, if they stay cheap; fewer, where so many would take longer than one
    worker takes for all."""
    each, part = round_seconds(costs, n_workers, size.combine_seconds), costs.pass_s / n_workers
    wanted, least = size.rounds(n_workers)
    affordable = int(_ROUNDS_SHARE * part / each) if each > 0.0 else wanted
    return min(wanted, max(affordable, least if least * each <= costs.pass_s else 1, 1))
