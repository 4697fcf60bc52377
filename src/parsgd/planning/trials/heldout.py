"""Observed fits: the loss of the merged model on held-out rows, and the time of each evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from parsgd.core import (
    Algorithm,
    Engine,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Rows,
    Shard,
    WorkerPool,
    WorkFn,
)
from parsgd.estimators.kinds import ModelKind
from parsgd.planning.instrumented import InstrumentedFit
from parsgd.utils.row_arrays import rows_of

# Evaluations per pass, as often as the history has an entry for short rounds.
_EVALUATIONS = 10


class CurvePoint(NamedTuple):
    """Loss at a time, after a number of passes over the data."""

    seconds: float
    passes: float
    loss: float


class HeldOut:
    """Mean loss of a model, without penalty, on held-out rows.

    ``classes`` are the sorted classes of the training rows, or None for regression; rows of other classes are dropped.
    ``kind`` is the kind of the models.
    For averaged SGD it is the loss of the averaged parameters.
    """

    def __init__(self, x: Any, y: np.ndarray, classes: np.ndarray | None, kind: ModelKind):
        self.classes: np.ndarray | None = classes
        self.kind: ModelKind = kind
        known = np.ones(len(y), dtype=bool) if classes is None else np.isin(y, classes)
        self.x: Any = x[known]
        self.y: np.ndarray = y[known]
        self.rows: Rows | None = None

    def __call__(self, model: Model, state: np.ndarray) -> float:
        if self.rows is None:
            self.x = sparse.csr_matrix(self.x) if sparse.issparse(self.x) else np.ascontiguousarray(self.x)
            self.x = self.x.astype(model.dtype)
            self.rows = rows_of(self.x, self.kind.held_out_targets(model, self.y, self.classes))
        with np.errstate(over="ignore", invalid="ignore"):
            return model.mean_loss(model.decision(self._averaged(model, state), self.x), self.rows)[0]

    @staticmethod
    def _averaged(model: Any, state: np.ndarray) -> np.ndarray:
        if "mean_coef" not in (views := model.views(state)):
            return state
        state = state.copy()
        for name in ("coef", "intercept"):
            model.views(state)[name][:] = views[f"mean_{name}"]
        return state


class ObservedFit(InstrumentedFit):
    """A fit with recorded loss ``curve``.

    The loss is evaluated before the first round and at each merge that completes another tenth of a pass.  A one-shot
    algorithm has no model in between, so its curve has two points.  The curve's times exclude the evaluations.
    ``until`` is called after each evaluation and ends the fit if it returns True.  ``latest`` holds the model, its
    state and the merge that produced it.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        engine: Engine,
        loss: HeldOut,
        until: Callable[[list[CurvePoint]], bool] | None = None,
    ):
        super().__init__(algorithm, engine)
        self.loss: HeldOut = loss
        self.until: Callable[[list[CurvePoint]], bool] | None = until
        self.curve: list[CurvePoint] = []
        self.last: tuple[float, float, Model, np.ndarray] | None = None
        self.latest: tuple[Model, np.ndarray, MergeResult] | None = None
        self.evaluating_s: float = 0.0

    def on_start(self, fit_state: FitState) -> None:
        self.curve = [CurvePoint(0.0, 0.0, self.loss(fit_state.model, fit_state.state))]
        self.evaluating_s = 0.0

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: ProgressCallback) -> WorkerPool:
        pool = super().open(work, shards, progress)
        self.started: float = pool.now()
        return pool

    def on_merge(self, fit_state: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        before = fit_state.examples / fit_state.n_rows
        after = before + sum(report.examples for report in reports) / fit_state.n_rows
        state = merge.state if merge.answer is None else merge.answer
        seconds = self.pool.now() - self.started - self.evaluating_s
        self.last = (seconds, after, fit_state.model, state)
        self.latest = (fit_state.model, state, merge)
        if int(_EVALUATIONS * after + 1e-9) > int(_EVALUATIONS * before + 1e-9):
            self.record_loss()
            # 0 with a simulated clock
            self.evaluating_s += self.pool.now() - self.started - self.evaluating_s - seconds
            if self.until is not None and self.until(self.curve):
                self.stop()

    def record_loss(self) -> None:
        """Record the loss after the last merge, if it is not recorded yet."""
        if self.last is not None:
            seconds, passes, model, state = self.last
            self.curve.append(CurvePoint(seconds, passes, self.loss(model, state)))
            self.last = None
