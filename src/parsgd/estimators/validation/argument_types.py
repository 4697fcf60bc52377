"""Types of the arguments that the estimators' methods share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from parsgd.checkpointing import Checkpoint
from parsgd.data.dataset import Dataset


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def tocsr(self) -> Any:
        """Convert to compressed sparse rows."""
        ...


# Rows: an array, a sparse matrix, or a Dataset that is streamed.
MatrixLike: TypeAlias = ArrayLike | SparseMatrix | Dataset
RandomState: TypeAlias = int | np.random.RandomState | None
ClassWeight: TypeAlias = Mapping[object, float] | str | None
CheckpointLike: TypeAlias = str | os.PathLike[str] | Checkpoint | None
