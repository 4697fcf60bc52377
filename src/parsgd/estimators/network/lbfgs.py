"""``solver="lbfgs"``: SciPy's L-BFGS-B on the full objective of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize
from sklearn.utils.optimize import _check_optimize_result

from parsgd.errors import DivergedError, Outcome
from parsgd.training.reporting import progress
from parsgd.utils import interrupts
from parsgd.viz.live import display_mode


class LbfgsResult(NamedTuple):
    """Final state of the optimizer."""

    state: np.ndarray
    loss: float
    n_iter: int
    outcome: Outcome | None


def minimize(
    model: Any,
    rows: Any,
    state: np.ndarray,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: Any,
    epoch_callback: Callable[[LbfgsResult], bool] | None = None,
) -> LbfgsResult:
    """Minimize the objective from ``state``.

    Ctrl-C, or an ``epoch_callback`` that returns True, ends the search and keeps the current state.
    """
    parameters = model.n_parameters

    def objective(at: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = model.gradient(at.astype(model.dtype), rows)
        return value, gradient[:parameters].astype(np.float64)

    n_iter, stopped_by_callback = 0, False

    def callback(intermediate_result) -> None:
        nonlocal n_iter, stopped_by_callback
        n_iter += 1
        line.done[0] += len(rows.y)
        line.notify(float(intermediate_result.fun))
        if line.halted:
            raise StopIteration
        if epoch_callback is not None:
            # copied, because SciPy reuses this array
            at, loss = intermediate_result.x.astype(model.dtype, copy=True), float(intermediate_result.fun)
            stopped_by_callback = bool(epoch_callback(LbfgsResult(at, loss, n_iter, None)))
            if stopped_by_callback:
                raise StopIteration

    with display_mode.shown(verbose), interrupts.scope() as scope:
        line = progress.ProgressTracker(1, len(rows.y) * max_iter, max_iter)
        scope.hold(line.halt)
        found = optimize.minimize(
            objective,
            state[:parameters].astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
        scope.finalize()
        scope.message = Outcome.INTERRUPTED.value
        line.notify(float(found.fun), done=True)
    if not np.isfinite(found.x).all() or not np.isfinite(found.fun):
        raise DivergedError(
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
            " preprocessed, for example by StandardScaler."
        )
    if line.halted:
        n_iter, outcome = found.nit, Outcome.INTERRUPTED
    elif stopped_by_callback:
        n_iter, outcome = found.nit, Outcome.STOPPED
    else:
        n_iter = _check_optimize_result("lbfgs", found, max_iter)
        outcome = Outcome.CONVERGED if found.success else Outcome.MAX_EPOCHS
    return LbfgsResult(found.x.astype(model.dtype), float(found.fun), n_iter, outcome)
