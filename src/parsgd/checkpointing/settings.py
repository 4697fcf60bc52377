"""Checkpoint settings: folder, interval, and number of files to keep."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, check_count


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoints of a fit, written to a folder.

    Parameters
    ----------
    folder : str or path
        Folder for the checkpoints of one fit; it is created if missing.
    seconds : float
        Minimum time between two checkpoints, which are written between rounds; 0 writes one after every round.  The fit
        also writes one before the first round, one at the end, and one if Ctrl-C or an error ends it.
    keep : int
        Number of newest checkpoints to keep.  With two, the fit can resume even if the newest is damaged.

    Raises
    ------
    InvalidArgumentError
        If a value is invalid.

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

    folder: str | os.PathLike[str]
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
        """Absolute path of the folder."""
        return Path(os.path.abspath(self.folder))


def settings_of(value: Any, owner: str) -> Checkpoint | None:
    """Return the settings for the ``checkpoint`` parameter of an estimator.

    >>> settings_of("run-7", "SGDClassifier").seconds
    10.0
    """
    if value is None or isinstance(value, Checkpoint):
        return value
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return Checkpoint(value)
    raise InvalidArgumentError(
        f"The 'checkpoint' parameter of {owner} must be the name of a folder, a parsgd.Checkpoint or None."
        f" Got {value!r} instead."
    )
