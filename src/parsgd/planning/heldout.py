"""A fit, watched: the loss of the merged model on rows kept apart, again and again, and the time at each of them."""

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
from parsgd.models.network.network_model import Network
from parsgd.planning.instrumented import InstrumentedEngine
from parsgd.utils.row_arrays import rows_of

# Looks a pass: as often as the history has an entry where rounds are short.
_LOOKS = 10


class CurvePoint(NamedTuple):
    """The loss at a time, after so many passes over the data."""

    seconds: float
    passes: float
    loss: float


class HeldOut:
    """The model's own mean loss, without penalty, on some rows.

    ``classes`` are those of the training rows, sorted, or None where numbers are predicted; rows of other classes are
    left out.  Where iterates are averaged, it is the loss of the averages.
    """

    def __init__(self, x: Any, y: np.ndarray, classes: np.ndarray | None):
        self.classes = classes
        known = np.ones(len(y), dtype=bool) if classes is None else np.isin(y, classes)
        self.x, self.y = x[known], y[known]
        self.rows: Rows | None = None

    def __call__(self, model: Model, state: np.ndarray) -> float:
        if self.rows is None:
            self.x = sparse.csr_matrix(self.x) if sparse.issparse(self.x) else np.ascontiguousarray(self.x)
            self.x = self.x.astype(model.dtype)
            self.rows = rows_of(self.x, self._targets(model))
        with np.errstate(over="ignore", invalid="ignore"):
            return model.mean_loss(model.decision(self._averaged(model, state), self.x), self.rows)[0]

    def _targets(self, model: Any) -> np.ndarray:
        """Targets as the model takes them: numbers, class numbers, 0 and 1, or -1 and 1."""
        network = isinstance(model, Network)
        if self.classes is None:
            y = self.y.astype(model.dtype)
            return y[:, None] if network and y.ndim == 1 else y
        numbers = np.searchsorted(self.classes, self.y)
        if model.loss == "softmax" or len(self.classes) > 2:
            return numbers.astype(np.int64)
        return (numbers == 1).astype(model.dtype)[:, None] if network else (2.0 * numbers - 1.0).astype(model.dtype)

    @staticmethod
    def _averaged(model: Any, state: np.ndarray) -> np.ndarray:
        if "mean_coef" not in (views := model.views(state)):
            return state
        state = state.copy()
        for name in ("coef", "intercept"):
            model.views(state)[name][:] = views[f"mean_{name}"]
        return state


class ObservedFit(InstrumentedEngine):
    """A fit as it was, and ``curve``, what was seen of it.

    A look is taken before the first round and at every merge after which another tenth of a pass is complete, so a
    one-shot algorithm is seen twice: it has no model in between.  The time of looking is not part of the time that the
    curve tells.  ``until``, asked after every look, may say that enough was seen.  ``latest``: the model, its state and
    the merge that led to it.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        engine: Engine,
        loss: HeldOut,
        until: Callable[[list[CurvePoint]], bool] | None = None,
    ):
        super().__init__(algorithm, engine)
        self.loss, self.until = loss, until
        self.curve: list[CurvePoint] = []
        self.last: tuple[float, float, Model, np.ndarray] | None = None
        self.latest: tuple[Model, np.ndarray, MergeResult] | None = None
        self.looking_s = 0.0

    def starts(self, standing: FitState) -> None:
        self.curve = [CurvePoint(0.0, 0.0, self.loss(standing.model, standing.state))]
        self.looking_s = 0.0

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> WorkerPool:
        crew = super().open(work, shards, pulse)
        self.began = crew.now()
        return crew

    def saw(self, standing: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        before = standing.examples / standing.n_rows
        after = before + sum(report.examples for report in reports) / standing.n_rows
        state = merge.state if merge.answer is None else merge.answer
        seconds = self.crew.now() - self.began - self.looking_s
        self.last = (seconds, after, standing.model, state)
        self.latest = (standing.model, state, merge)
        if int(_LOOKS * after + 1e-9) > int(_LOOKS * before + 1e-9):
            self.look()
            # nothing where the clock is a simulated one
            self.looking_s += self.crew.now() - self.began - self.looking_s - seconds
            if self.until is not None and self.until(self.curve):
                self.enough()

    def look(self) -> None:
        """Take note of the loss after the last merge, if that was not done."""
        if self.last is not None:
            seconds, passes, model, state = self.last
            self.curve.append(CurvePoint(seconds, passes, self.loss(model, state)))
            self.last = None
