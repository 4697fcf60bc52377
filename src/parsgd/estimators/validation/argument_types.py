"""Types of the arguments that the estimators' methods share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from parsgd.checkpointing import Checkpoint
from parsgd.data.dataset import Dataset

# Rows: an array, a sparse matrix, or a Dataset that is streamed.
MatrixLike: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix | Dataset
RandomState: TypeAlias = int | np.random.RandomState | None
ClassWeight: TypeAlias = Mapping[object, float] | str | None
CheckpointLike: TypeAlias = str | os.PathLike[str] | Checkpoint | None
