"""Size of a network and its data, and the predicted seconds per pass and per merge, from constants measured here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from parsgd.estimators.cost_estimates import ProblemSize

# FLOPs per second of matrix products on one core, the solver's passes over its slots, overhead per step, and cost per
# round: benchmarks/single/chosen_workers.py, rounded. Work per stored value for one unit of the first layer: measured
# once, on 20,000 sparse rows of 75 values and 100 units.
_FLOPS, _SECONDS_PER_SLOT, _SECONDS_PER_STEP, _SECONDS_PER_SPARSE_UNIT = 40e9, 1e-9, 10e-6, 0.3e-9
_SECONDS_PER_NETWORK_ROUND = 0.8e-3
# Merges in compiled code, and adaptive steps in Python and per parameter: generated rows, 3,600 and 203,000 weights.
_SECONDS_PER_COMPILED_ROUND, _SECONDS_PER_COMPILED_PARAMETER = 5e-5, 2e-9
_SECONDS_PER_ADAPTIVE_STEP, _SECONDS_PER_NETWORK_PARAMETER = 3.5e-3, 13e-9
# Minimum steps of a network's worker between two merges: a cautious guess.
_MIN_STEPS = 10
# Merges per pass of networks, per worker and in total: chosen on Fashion-MNIST at one untuned rate.
_ROUNDS_PER_WORKER, _MIN_ROUNDS, _MAX_ROUNDS = 5, 10, 100
# Two workers on 10,000 rows, 1000-900-10: 30,700 rows per second with 500 probe rows, 37,400 with 100, 42,300 without.
_ROWS_PER_PROBE_ROW, _MIN_PROBE_ROWS, _MAX_PROBE_ROWS = 100, 100, 500


@dataclass(frozen=True)
class NetworkSize(ProblemSize):
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
        # workers of a network diverge faster the more of them there are
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
        # at most two probes, forward only
        probing = 4.0 * self.n_probe_rows * sum(i * o for i, o in pairwise(self.layers)) / _FLOPS
        return _SECONDS_PER_ADAPTIVE_STEP + self.n_parameters * _SECONDS_PER_NETWORK_PARAMETER + probing

    @property
    def compiled_merge_seconds(self) -> float:
        return _SECONDS_PER_COMPILED_ROUND + self.n_parameters * _SECONDS_PER_COMPILED_PARAMETER

    @property
    def _weights(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.layers))

    @property
    def epoch_seconds(self) -> float:
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
        steps = self.n_rows / self.batch_size / n_workers
        if steps < _MIN_STEPS:
            return f"a worker would make {steps:.0f} steps per pass: too few between averages"
        return None
