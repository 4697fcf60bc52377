"""Size of a linear problem, and the predicted seconds per pass and per merge, from constants measured here."""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.estimators.cost_estimates import ProblemSize

# Seconds per row and per stored value, on one core: generated rows of 20 to 500 dense, and 20 and 75 sparse values,
# three losses. With one output; then with several, of which each adds to both.
_SECONDS_PER_ROW, _SECONDS_PER_DENSE_VALUE, _SECONDS_PER_SPARSE_VALUE = 65e-9, 0.7e-9, 2e-9
_SEVERAL_PER_ROW, _SEVERAL_PER_DENSE_VALUE, _SEVERAL_PER_SPARSE_VALUE = 120e-9, 1.7e-9, 3e-9
_OUTPUT_PER_ROW, _OUTPUT_PER_DENSE_VALUE, _OUTPUT_PER_SPARSE_VALUE = 6.5e-9, 0.1e-9, 0.6e-9
# Passes with AdaGrad take this many times as long, without and with a penalty: one output; several, dense or sparse.
_ADAGRAD, _SEVERAL_DENSE_ADAGRAD, _SEVERAL_SPARSE_ADAGRAD = (1.4, 3.0), (3.5, 15.0), (2.0, 6.0)
# Per round: waking the workers and waiting for the last.
_SECONDS_PER_ROUND = 0.5e-3
# The same in compiled code, and per weight: to end the steps of a round and to merge.  With AdaGrad and a penalty, this
# penalty is applied to every weight.  With 47,000 to 2,000,000 weights: 0.8 to 3.2 ns, AdaGrad 3.3 to 5.4.
_SECONDS_PER_COMPILED_ROUND, _SECONDS_PER_MERGED_WEIGHT, _SECONDS_PER_PENALIZED_WEIGHT = 3e-5, 2e-9, 4.5e-9
# Adaptive step: in Python, per parameter, per value of a probe row, and per loss. More outputs slow the probe more than
# the kernels. Measured on generated rows of 1 to 10 outputs and 54 to 600,000 parameters.
_SECONDS_PER_STEP, _SECONDS_PER_STEP_PARAMETER = 3.5e-3, 26e-9
_SECONDS_PER_SPARSE_PROBE, _SECONDS_PER_DENSE_PROBE, _SECONDS_PER_LOSS = 6.4e-9, 1.6e-9, 240e-9
_PROBE_OUTPUTS_THAT_DOUBLE = 4
# Mean number of rows with a feature below which features are rare: 11 and 16 on enron_spam and news20, thousands on
# adult and nycflights.
_RARE_VISITS = 100
# With a thousand rows per worker no accuracy was lost on synthetic data; with 336, digits lost 0.8 points.
_MIN_ROWS = 1000


@dataclass(frozen=True)
class LinearSize(ProblemSize):
    """Size of a linear problem, known before the fit."""

    n_rows: int
    n_values: int
    n_features: int
    n_outputs: int
    sparse: bool = False
    one_against_all: bool = False
    adagrad: bool = False
    penalized: bool = True

    # the mean of solutions of a convex objective is nearly a solution
    convex = True
    # probe rows of an adaptive step: fewer were not enough on enron_spam, more did not help
    n_probe_rows = 2000
    wake_seconds = _SECONDS_PER_ROUND

    def rounds(self, n_workers: int) -> tuple[int, int]:
        return 10, 5

    @property
    def epoch_seconds(self) -> float:
        if not self.adagrad:
            return self._sgd_seconds
        several = _SEVERAL_SPARSE_ADAGRAD if self.sparse else _SEVERAL_DENSE_ADAGRAD
        return self._sgd_seconds * (_ADAGRAD if self.n_outputs == 1 else several)[self.penalized]

    @property
    def _sgd_seconds(self) -> float:
        if self.n_outputs == 1:
            per_value = _SECONDS_PER_SPARSE_VALUE if self.sparse else _SECONDS_PER_DENSE_VALUE
            return self.n_rows * _SECONDS_PER_ROW + self.n_values * per_value
        per_row = _SEVERAL_PER_ROW + self.n_outputs * _OUTPUT_PER_ROW
        base, extra = (
            (_SEVERAL_PER_SPARSE_VALUE, _OUTPUT_PER_SPARSE_VALUE)
            if self.sparse
            else (_SEVERAL_PER_DENSE_VALUE, _OUTPUT_PER_DENSE_VALUE)
        )
        return self.n_rows * per_row + self.n_values * (base + self.n_outputs * extra)

    @property
    def has_rare_features(self) -> bool:
        return self.sparse and self.n_values < _RARE_VISITS * self.n_features

    @property
    def n_parameters(self) -> int:
        # AdaGrad has a sum of squares for each weight
        return (self.n_features + 1) * self.n_outputs * (2 if self.adagrad else 1)

    @property
    def merge_seconds(self) -> float:
        values = self.n_values / max(self.n_rows, 1) * (1.0 + (self.n_outputs - 1) / _PROBE_OUTPUTS_THAT_DOUBLE)
        per_value = _SECONDS_PER_SPARSE_PROBE if self.sparse else _SECONDS_PER_DENSE_PROBE
        probing = self.n_probe_rows * (values * per_value + self.n_outputs * _SECONDS_PER_LOSS)
        return _SECONDS_PER_STEP + self.n_parameters * _SECONDS_PER_STEP_PARAMETER + probing

    @property
    def compiled_merge_seconds(self) -> float:
        is_penalized = self.adagrad and self.penalized
        per_weight = _SECONDS_PER_PENALIZED_WEIGHT if is_penalized else _SECONDS_PER_MERGED_WEIGHT
        return _SECONDS_PER_COMPILED_ROUND + self.n_features * self.n_outputs * per_weight

    def reason_against(self, n_workers: int) -> str | None:
        rows = self.n_rows // n_workers
        if rows < _MIN_ROWS:
            return f"a worker would have {rows} rows, and an average of models of few rows may predict worse"
        return None
