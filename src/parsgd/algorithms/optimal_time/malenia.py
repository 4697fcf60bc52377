"""Malenia SGD: a step takes gradients from every worker, and fast workers send more of them.

Tyurin, Richtarik, "Optimal Time Complexities of Parallel Stochastic Optimization Methods Under a Fixed Computation
Model", NeurIPS 2023.

Round: as in :mod:`parsgd.algorithms.optimal_time.rennala`, but a step waits for a gradient from every worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.algorithms.optimal_time.collected_gradients import CollectedGradients, check_batch
from parsgd.errors import check_count


@dataclass(frozen=True)
class Malenia(CollectedGradients):
    """Asynchronous mini-batch SGD for workers with different rows: every worker has the weight of its rows.

    All workers compute gradients at the present state ``w``, one after the other.  The driver waits until every worker
    has sent one, and ``(1/n sum_i 1/B_i)^-1 >= batch / n``, where ``B_i`` is the number of gradients of worker i::

        w = w - eta / n  sum_i 1/B_i sum_j g_ij

    for n workers with equally many rows; otherwise ``1/n`` is the share of a worker's rows.  The step is along an
    unbiased estimate of the whole gradient, even if fast workers have other rows than slow ones.  The variance is that
    of ``batch`` gradients.

    For smooth objectives, noise of variance ``sigma^2`` per gradient and ``batch = max(n, ceil(sigma^2 / epsilon))``
    the time to ``E |grad f|^2 <= epsilon`` is within a constant of the lower bound for such workers, with ``tau_n`` the
    largest of the times per gradient ``tau_i``::

        tau_n L Delta / epsilon + (1/n sum_i tau_i) sigma^2 L Delta / (n epsilon^2)

    It pays where the rows differ much, as sorted or grouped ones do.  Otherwise :class:`Rennala` waits for nobody.

    Parameters
    ----------
    batch : int or "auto"
        Gradients per step whose mean has the same variance.  ``"auto"``: the measured ``sigma^2 / |G|^2``, at least 2
        and at most a tenth of the rows.
    batch_size : int or None
        Rows per gradient.  Default: the model's own batch size, or 256 where that is 1.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.  The driver keeps one gradient per worker.  The variant with local steps is
    ``LocalSGD(seconds=..., rule="uniform")``.

    Examples
    --------
    >>> from parsgd import Malenia, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> algorithm = Malenia(batch=4, batch_size=4)
    >>> model = SGDClassifier(algorithm=algorithm, engine="serial", n_jobs=4, max_iter=8, tol=None, random_state=0)
    >>> model.fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    batch: int | str = "auto"
    batch_size: int | None = None

    name = "malenia"

    def __post_init__(self) -> None:
        check_batch(self.batch, "Malenia")
        check_count(self.batch_size, "batch_size", "Malenia")

    @property
    def exponent(self) -> float:
        return 1.0
