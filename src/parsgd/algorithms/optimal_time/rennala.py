"""Rennala SGD: a step takes the first gradients at the present state, from whichever workers send them.

Tyurin, Richtarik, "Optimal Time Complexities of Parallel Stochastic Optimization Methods Under a Fixed Computation
Model", NeurIPS 2023.

Round: the worker sends the summed gradient of a batch of its rows; the driver waits for one report; merge = the
gradients at the present state are collected, and a step follows once there are ``batch`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.algorithms.optimal_time.collected_gradients import CollectedGradients, check_batch
from parsgd.errors import InvalidArgumentError, check_between, check_count


@dataclass(frozen=True)
class Rennala(CollectedGradients):
    """Asynchronous mini-batch SGD: fast workers send many gradients of a step, slow ones few.

    All workers compute gradients at the present state ``w``, one after the other.  With ``B_i`` gradients ``g_ij`` from
    worker i, the driver steps as soon as ``sum_i B_i = batch``::

        w = w - eta / batch  sum_i sum_j g_ij

    A gradient that arrives after the step is ignored, and its worker continues from the new state.  No step waits for
    a slow worker.

    For smooth objectives, noise of variance ``sigma^2`` per gradient, and rows that are distributed alike, the time to
    ``E |grad f|^2 <= epsilon`` is within a constant of the lower bound of all parallel methods, whatever the times per
    gradient ``tau_1 <= ... <= tau_n`` of the workers, if ``batch = ceil(sigma^2 / epsilon)``::

        min_m  (1/m sum_{i <= m} 1/tau_i)^-1 (L Delta / epsilon + sigma^2 L Delta / (m epsilon^2))

    If the workers' rows differ, the mean favors the rows of fast workers: see :class:`Malenia`, and ``theta``.

    Parameters
    ----------
    batch : int or "auto"
        Gradients per step.  ``"auto"``: the measured ``sigma^2 / |G|^2``, at least 2 and at most a tenth of the rows.
        It grows during a fit, while the gradient ``G`` becomes smaller.
    batch_size : int or None
        Rows per gradient.  Default: the model's own batch size, or 256 where that is 1.
    theta : float
        Exponent in ``[0, 1)`` of the weights: worker i has the weight ``(n_i / M_i)^theta``, with ``n_i`` rows of which
        ``M_i`` are in the step.  0: all gradients alike.  Above 0, the driver keeps one gradient per worker.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.  In ``history_``, ignored gradients have the weight 0.  A schedule of the learning rate counts steps.

    Of equally fast workers about half of the gradients are ignored if ``batch`` is the number of workers;
    :class:`MiniBatch` ignores none.  The variant with local steps is ``LocalSGD(seconds=..., rule="steps")``.

    Examples
    --------
    >>> from parsgd import Rennala, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> algorithm = Rennala(batch=4, batch_size=4)
    >>> model = SGDClassifier(algorithm=algorithm, engine="serial", n_jobs=4, max_iter=8, tol=None, random_state=0)
    >>> model.fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    batch: int | str = "auto"
    batch_size: int | None = None
    theta: float = 0.0

    name = "rennala"

    def __post_init__(self) -> None:
        check_batch(self.batch, "Rennala")
        check_count(self.batch_size, "batch_size", "Rennala")
        if self.theta != 0 or isinstance(self.theta, bool):
            check_between(self.theta, 0, 1, "theta", "Rennala")
        if self.theta == 1:
            raise InvalidArgumentError(
                "The 'theta' parameter of Rennala must be below 1. Got 1; use Malenia, which waits for every worker."
            )

    @property
    def exponent(self) -> float:
        return float(self.theta)
