"""Detection of fits whose loss exploded though every parameter is still finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from parsgd.errors import DivergedError, DivergenceWarning
from parsgd.training import loop
from parsgd.utils.callers import warn

# Factors over the loss of predicting 0 at which a warning and an error are issued: unscaled data at
# scikit-learn's default learning rates end near 1e26, where the clipped steps hold them.
WARN_FACTOR, _ERROR_FACTOR, SAMPLE_ROWS = 1e6, 1e29, 1000


def check_final_loss(
    fit: loop.Fit,
    targets: Callable[[int], np.ndarray],
    zero_losses: Callable[[np.ndarray], np.ndarray],
    remedy: str,
    starts_at_zero: bool = True,
) -> None:
    """Warn or raise if the final loss is far above that of predicting 0.

    A loss whose gradient grows with the error diverges if the learning rate is too large. Gradients are clipped, as in
    scikit-learn, which keeps the parameters finite but not meaningful. scikit-learn gives no warning at its default
    rates. This function warns up to a loss of 1e29 times that of predicting 0 and raises DivergedError beyond it.

    ``targets(n)`` returns the first ``n`` targets, and ``zero_losses(y)`` their losses when all predictions are 0.
    A model whose first predictions are not 0 may have a large loss without divergence; it gets no warning.
    """
    zero_loss = float(zero_losses(targets(SAMPLE_ROWS).astype(np.float64)).mean())
    workers = fit.history[-1]["workers"]
    reference = zero_loss if starts_at_zero else max(zero_loss, 1.0)
    losses = [worker["trace"][-1][1] if worker["trace"] else worker["loss"] for worker in workers if worker["examples"]]
    final_loss = sum(losses) / max(len(losses), 1)
    if reference == 0.0 or final_loss <= (WARN_FACTOR if starts_at_zero else _ERROR_FACTOR) * reference:
        return
    message = (
        f"SGD diverged: in round {fit.history[-1]['round']}, at epoch #{fit.n_epochs}, the mean loss is"
        f" {final_loss:.3g}, but {zero_loss:.3g} when all predictions are 0. Scaling input data with StandardScaler or"
        f" MinMaxScaler might help, or {remedy}."
    )
    if final_loss > _ERROR_FACTOR * reference:
        raise DivergedError(message)
    warn(message, DivergenceWarning)
