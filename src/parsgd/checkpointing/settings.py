"""Where checkpoints are kept, how often they are written, and how many stay."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, check_count


@dataclass(frozen=True)
class Checkpoint:
    """Keep checkpoints of a fit in a folder of their own.

    Parameters
    ----------
    folder : str or path
        It is made if it is not there.  One folder holds the checkpoints of one fit.
    seconds : float
        A checkpoint is written between two rounds when so many seconds have passed since the last one; 0: after every
        round.  Besides, there is one before the first round, one at the end, and one when Ctrl-C or an error ends the
        fit.
    keep : int
        How many stay, the newest ones.  With two there is one to go back to if the newest is damaged.

    Raises
    ------
    InvalidArgumentError
        When it is made with values that cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from parsgd import Checkpoint, LocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = Checkpoint(folder, seconds=0)
    ...     first = SGDClassifier(tol=None, max_iter=5, random_state=0, checkpoint=kept).fit(X, y)
    ...     more = SGDClassifier(tol=None, max_iter=9, random_state=0, checkpoint=kept).fit(X, y, resume=True)
    >>> first.n_iter_, more.resumed_from_, more.n_iter_
    (5, 5, 9)
    """

    folder: str | os.PathLike
    seconds: float = 10.0
    keep: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.folder, (str, os.PathLike)) or not os.fspath(self.folder):
            raise InvalidArgumentError(
                f"The 'folder' parameter of Checkpoint must be the name of a folder. Got {self.folder!r} instead."
            )
        real = isinstance(self.seconds, Real) and not isinstance(self.seconds, bool)
        if not (real and self.seconds >= 0):
            raise InvalidArgumentError(
                "The 'seconds' parameter of Checkpoint must be a number in the range [0, inf]. Got"
                f" {self.seconds!r} instead."
            )
        check_count(self.keep, "keep", "Checkpoint", optional=False)

    @property
    def path(self) -> Path:
        """The folder, from the root."""
        return Path(os.path.abspath(self.folder))


def settings_of(value: Any, who: str) -> Checkpoint | None:
    """What the ``checkpoint`` parameter of an estimator stands for.

    >>> settings_of("run-7", "SGDClassifier").seconds
    10.0
    """
    if value is None or isinstance(value, Checkpoint):
        return value
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return Checkpoint(value)
    raise InvalidArgumentError(
        f"The 'checkpoint' parameter of {who} must be the name of a folder, a parsgd.Checkpoint or None."
        f" Got {value!r} instead."
    )
