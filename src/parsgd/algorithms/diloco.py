"""DiLoCo: local SGD with many steps per round and a Nesterov step of the driver.

Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105.

Round: the worker makes ``sync_every`` steps of its own optimizer; the driver waits for all reports; merge = a Nesterov
step along the mean displacement ``D = sum_i a_i (w_i - w)``: ``m = beta m + D``, ``w + rate (D + beta m)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parsgd.algorithms.local_sgd import LocalSGD


@dataclass(frozen=True)
class DiLoCo(LocalSGD):
    """Local SGD with a Nesterov outer step: :class:`LocalSGD` with the defaults of the paper.

    Parameters
    ----------
    sync_every : int, float or "adaptive"
        Steps of a worker per round.  Up to 1: a fraction of an epoch.
    outer_optimizer : str or object
        ``"nesterov"`` has rate 0.7 and beta 0.9.  Others: ``Momentum("nesterov", rate=1.0, beta=0.9)`` of
        :mod:`parsgd.algorithms.common.outer_optimizers`.

    Notes
    -----
    The other parameters are those of :class:`LocalSGD`.  With ``deadline="auto"`` a round does not wait for slow
    workers; the merge weights are then in proportion to the steps.

    Examples
    --------
    >>> from parsgd import DiLoCo, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SGDClassifier(algorithm=DiLoCo(sync_every=100), n_jobs=2, max_iter=5, tol=None, random_state=0)
    >>> model.fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    sync_every: float | str = 500
    outer_optimizer: Any = "nesterov"

    name = "diloco"
