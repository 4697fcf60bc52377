"""Post-local SGD: an average after every step at first, and local SGD afterwards.

Lin, Stich, Patel, Jaggi, "Don't Use Large Mini-Batches, Use Local SGD", ICLR 2020.

Round: the worker makes one step in the first epochs, and ``sync_every`` afterwards; the driver waits for all reports;
merge = the average of the states.  With plain SGD and momentum an average after every step is the step along the mean
gradient.  With other optimizers it is not, because each worker scales its own gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from parsgd.algorithms.common.round_length import step_budget
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import Budget, FitState
from parsgd.errors import check_count


@dataclass(frozen=True)
class PostLocalSGD(LocalSGD):
    """Local SGD that begins with an average after every step.

    Parameters
    ----------
    sync_every : int, float or "adaptive"
        Steps of a worker per round after the first epochs.  Up to 1: a fraction of an epoch.
    warmup_epochs : int
        Epochs of all workers together in which every round is one step.

    Notes
    -----
    The other parameters are those of :class:`LocalSGD`.

    Examples
    --------
    >>> from parsgd import PostLocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SGDClassifier(algorithm=PostLocalSGD(sync_every=25), n_jobs=2, max_iter=3, tol=None, random_state=0)
    >>> [entry["workers"][0]["steps"] for entry in model.fit(X, y).history_[-8:]]
    [1, 1, 25, 25, 25, 25, 25, 25]
    """

    sync_every: float | str = 16
    warmup_epochs: int = 1

    name = "post_local"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.warmup_epochs, "warmup_epochs", "PostLocalSGD", optional=False)

    def _budget(self, fit_state: FitState, worker: int) -> Budget:
        if fit_state.examples < fit_state.n_rows * self.warmup_epochs:
            return step_budget(fit_state, worker, 1)
        return super()._budget(fit_state, worker)
