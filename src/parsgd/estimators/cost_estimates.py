"""Estimated seconds per pass and per round, from the data size and constants measured here, before any fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from parsgd.core import CostModel, Engine
from parsgd.training.cost_model import round_seconds

# Seconds per stored value and per row, one output, one core: benchmarks/figures/equal_work.py, rounded.
_SECONDS_PER_DENSE_VALUE, _SECONDS_PER_SPARSE_VALUE, _SECONDS_PER_ROW = 0.7e-9, 2.5e-9, 20e-9
# Outputs read the row together: 16 of them double its time.
_OUTPUTS_THAT_DOUBLE = 16
# Per round: waking the workers and waiting for the last; per parameter: copying, merging and sending the state.
_SECONDS_PER_ROUND, _SECONDS_PER_MERGED_PARAMETER = 0.5e-3, 7e-9
# Cost of an adaptive step per probe row: per value, and per loss. More outputs slow the probe more than the kernels.
# Measured on the five linear sets of docs/results/family.md, rounded.
_SECONDS_PER_SPARSE_PROBE, _SECONDS_PER_DENSE_PROBE, _SECONDS_PER_LOSS = 4e-9, 1e-9, 40e-9
_PROBE_OUTPUTS_THAT_DOUBLE = 4
# FLOPs per second of matrix products on one core, the solver's passes over its slots, overhead per step, and cost per
# round: benchmarks/figures/networks.py, rounded. Work per stored value for one unit of the first layer: measured once,
# on 20,000 sparse rows of 75 values and 100 units.
_FLOPS, _SECONDS_PER_SLOT, _SECONDS_PER_STEP, _SECONDS_PER_SPARSE_UNIT = 80e9, 0.5e-9, 5e-6, 0.3e-9
_SECONDS_PER_NETWORK_ROUND, _SECONDS_PER_NETWORK_PARAMETER = 0.8e-3, 4e-9
# With a thousand rows per worker no accuracy was lost, on synthetic data and on those of docs/results/family.md; with
# 336, digits lost 0.8 points.
_MIN_ROWS = 1000
# Minimum steps of a network's worker between two merges: a cautious guess.
_MIN_STEPS = 10
# Merges per pass of networks, per worker and in total: docs/results/family.md.
_ROUNDS_PER_WORKER, _MIN_ROUNDS, _MAX_ROUNDS = 5, 10, 100
# Two workers on 10,000 rows, 1000-900-10: 30,700 rows per second with 500 probe rows, 37,400 with 100, 42,300 without.
_ROWS_PER_PROBE_ROW, _MIN_PROBE_ROWS, _MAX_PROBE_ROWS = 100, 100, 500
# Rounds may add this fraction to the time: the accuracy is worth more (docs/results/family.md).
_ROUNDS_SHARE = 0.25
# A merge may take this fraction of a worker's pass through a network; beyond it a second worker is not worth it.
_MAX_MERGE_SHARE = 0.1


@dataclass(frozen=True)
class ProblemSize:
    """Size of a linear problem, known before the fit."""

    n_rows: int
    n_values: int
    n_features: int
    n_outputs: int
    sparse: bool = False
    # several classes, each against the rest
    one_against_all: bool = False

    # the mean of solutions of a convex objective is nearly a solution
    convex = True
    # probe rows of an adaptive step: fewer were not enough on enron_spam, more did not help
    n_probe_rows = 2000
    wake_seconds = _SECONDS_PER_ROUND

    def rounds(self, n_workers: int) -> tuple[int, int]:
        """Return the useful number of merges per pass, and the minimum below which accuracy drops."""
        return 10, 5

    @property
    def epoch_seconds(self) -> float:
        """Approximate seconds per pass on one core."""
        per_value = _SECONDS_PER_SPARSE_VALUE if self.sparse else _SECONDS_PER_DENSE_VALUE
        reading = self.n_values * per_value + self.n_rows * _SECONDS_PER_ROW
        return reading * (1.0 + (self.n_outputs - 1) / _OUTPUTS_THAT_DOUBLE)

    @property
    def n_parameters(self) -> int:
        return (self.n_features + 1) * self.n_outputs

    @property
    def merge_seconds(self) -> float:
        """Approximate seconds of the driver per merge with an adaptive step."""
        values = self.n_values / max(self.n_rows, 1) * (1.0 + (self.n_outputs - 1) / _PROBE_OUTPUTS_THAT_DOUBLE)
        per_value = _SECONDS_PER_SPARSE_PROBE if self.sparse else _SECONDS_PER_DENSE_PROBE
        probing = self.n_probe_rows * (values * per_value + self.n_outputs * _SECONDS_PER_LOSS)
        return self.n_parameters * _SECONDS_PER_MERGED_PARAMETER + probing

    def reason_against(self, n_workers: int) -> str | None:
        """Return why this many workers would cost accuracy, or None."""
        rows = self.n_rows // n_workers
        if rows < _MIN_ROWS:
            return f"a worker would have {rows} rows, and an average of models of few rows may predict worse"
        return None


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network and its data, known before the fit."""

    n_rows: int
    n_values: int
    layers: tuple[int, ...]
    batch_size: int
    n_slots: int
    sparse: bool = False

    convex = False
    # includes waiting for the last batch of the other worker
    wake_seconds = _SECONDS_PER_NETWORK_ROUND

    def rounds(self, n_workers: int) -> tuple[int, int]:
        """Return the useful number of merges per pass, and the minimum below which accuracy drops.

        Workers of a network diverge faster the more of them there are.
        """
        useful = min(max(_MIN_ROUNDS, _ROUNDS_PER_WORKER * n_workers), _MAX_ROUNDS)
        return useful, useful // 2

    @property
    def n_probe_rows(self) -> int:
        """Number of probe rows of an adaptive step, one row in a hundred within limits.

        With ten merges per pass and up to two probes per merge the driver does a fifteenth of the work of two workers.
        """
        return min(max(self.n_rows // _ROWS_PER_PROBE_ROW, _MIN_PROBE_ROWS), _MAX_PROBE_ROWS)

    @property
    def n_parameters(self) -> int:
        """Length of the state: parameters and the solver's slots."""
        return self._weights * (1 + self.n_slots)

    @property
    def merge_seconds(self) -> float:
        """Approximate seconds of the driver per merge with an adaptive step."""
        # at most two probes, forward only
        probing = 4.0 * self.n_probe_rows * sum(i * o for i, o in pairwise(self.layers)) / _FLOPS
        return self.n_parameters * _SECONDS_PER_NETWORK_PARAMETER + probing

    @property
    def _weights(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.layers))

    @property
    def epoch_seconds(self) -> float:
        """Approximate seconds per pass on one core."""
        products = [i * o for i, o in pairwise(self.layers)]
        # two FLOPs each for the forward pass, the gradient, and the backward pass beyond the first layer
        flops = 2.0 * self.n_rows * (3.0 * sum(products) - products[0])
        seconds = flops / _FLOPS
        if self.sparse:
            seconds -= 4.0 * self.n_rows * products[0] / _FLOPS
            seconds += 2.0 * self.n_values * self.layers[1] * _SECONDS_PER_SPARSE_UNIT
        steps = self.n_rows / self.batch_size
        return seconds + steps * (_SECONDS_PER_STEP + self._weights * self.n_slots * _SECONDS_PER_SLOT)

    def reason_against(self, n_workers: int) -> str | None:
        """Return why this many workers would cost time or accuracy, or None."""
        steps = self.n_rows / self.batch_size / n_workers
        if steps < _MIN_STEPS:
            return f"a worker would make {steps:.0f} steps per pass: too few between averages"
        part, merge_s = self.epoch_seconds / n_workers, self.wake_seconds + self.merge_seconds
        if merge_s > _MAX_MERGE_SHARE * part:
            times = f"about {1e3 * merge_s:.1f} ms, a worker's pass {1e3 * part:.1f} ms"
            return f"an average takes {times}: the speedup would be small, and few rows cost accuracy"
        return None


def costs_of(size: ProblemSize | NetworkSize, n_threads: int) -> CostModel:
    """Return the estimates as a :class:`CostModel` for up to ``n_threads`` threads."""
    wake = dict.fromkeys(range(2, n_threads + 1), size.wake_seconds)
    return CostModel(size.n_rows, size.epoch_seconds / max(size.n_rows, 1), wake_s=wake)


def costs_on(engine: Engine | None, size: ProblemSize | NetworkSize, n_workers: int) -> CostModel:
    """Return the costs on an engine; None: threads.

    A simulated engine gives its own (``Engine.costs``). A distributed engine adds message costs to the estimates
    (``Engine.message_costs``). All others use the estimates of threads.
    """
    own = None if engine is None else engine.costs(size.n_rows, size.n_parameters)
    if own is not None:
        return own
    message_costs = None if engine is None else engine.message_costs(size.n_parameters)
    if message_costs is None:
        return costs_of(size, n_workers)
    latency, bandwidth = message_costs
    estimate = costs_of(size, 1)
    state_bytes = 8 * size.n_parameters
    return replace(estimate, state_bytes=state_bytes, latency_s=latency, bandwidth_bytes_per_s=bandwidth)


def rounds_of(costs: CostModel, n_workers: int, size: ProblemSize | NetworkSize) -> int:
    """Return the number of merges per pass.

    It is the useful number if merging stays cheap, and smaller if merging would take longer than one worker's pass.
    """
    merge_s, part = round_seconds(costs, n_workers, size.merge_seconds), costs.pass_s / n_workers
    useful, minimum = size.rounds(n_workers)
    affordable = int(_ROUNDS_SHARE * part / merge_s) if merge_s > 0.0 else useful
    return min(useful, max(affordable, minimum if minimum * merge_s <= costs.pass_s else 1, 1))
