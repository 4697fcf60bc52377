"""What a fit trains on, so that estimators need not know whether it lies in memory or is read meanwhile.

Both kinds have a shape, a dtype, targets, and a source that deals them to workers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse as sp
from sklearn.utils import check_random_state, compute_class_weight

from parsgd.core import DenseRows, Rows, Source
from parsgd.data.dataset import Dataset
from parsgd.data.sources.array_source import ArraySource
from parsgd.data.sources.pieces import Pose
from parsgd.errors import InvalidArgumentError
from parsgd.utils.row_arrays import rows_of

# Rows held back from a stream for early stopping, at most: they are kept in memory and scored every epoch.
_MOST_HELD_BACK = 50_000
_MAX_INT = np.iinfo(np.int32).max


class HeldOutRows(NamedTuple):
    """Rows held back to score on: ``x``, targets as kernels take them, and ``weight`` or None."""

    x: Any
    y: np.ndarray
    weight: np.ndarray | None


@dataclass(frozen=True, eq=False)
class InMemoryData:
    """Arrays in memory: ``x`` in C order or CSR, labels ``y`` as they came, ``weight (n_rows,)`` or None.

    ``target`` and ``factor`` are targets and weights as kernels take them, once they are posed; ``subset`` numbers the
    rows to train on, if these are not all.
    """

    x: Any
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    target: np.ndarray | None = None
    factor: np.ndarray | None = None
    subset: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape

    @property
    def dtype(self) -> np.dtype:
        return self.x.dtype

    @property
    def sparse(self) -> bool:
        return sp.issparse(self.x)

    @property
    def n_rows(self) -> int:
        """Rows to train on."""
        return self.x.shape[0] if self.subset is None else len(self.subset)

    @property
    def n_values(self) -> int:
        return self.x.nnz if self.sparse else self.x.size

    def class_factors(self, class_weight: Any, classes: np.ndarray) -> np.ndarray:
        """``(n_classes,)`` weights of classes, from the labels."""
        return compute_class_weight(class_weight, classes=classes, y=self.y)

    def posed(self, pose: Pose) -> InMemoryData:
        """With targets and weights as kernels take them."""
        target, factor = pose(self.y, self.weight)
        return replace(self, target=target, factor=factor)

    def head(self, n: int) -> np.ndarray:
        """The first ``n`` targets."""
        return self.target[:n]

    def hold_back(
        self, split: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], fraction: float, random: Any
    ) -> tuple[InMemoryData, HeldOutRows]:
        """The examples without some, and these; ``split(target, weight)`` gives the numbers of both."""
        train, held = split(self.target, self.factor)
        weight = self.factor[held] if self.factor.size else None
        return replace(self, subset=train), HeldOutRows(self.x[held], self.target[held], weight)

    def seen(self) -> dict[str, Any]:
        """What callbacks are shown: all rows that the fit was given, those held back too."""
        return {"X": self.x, "y": self.y, "metadata": None if self.weight is None else {"sample_weight": self.weight}}

    def rows(self) -> Rows:
        """All rows as kernels see them."""
        return rows_of(self.x, self.target, self.factor)

    def source(self, shuffle: bool) -> Source:
        return ArraySource(self.rows(), shuffle, self.subset)


@dataclass(frozen=True, eq=False)
class StreamedData:
    """The rows of a Dataset, read while they are trained on; ``rest`` is the source without what is held back."""

    dataset: Dataset
    pose: Pose | None = None
    rest: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.dataset.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.dataset.dtype)

    @property
    def sparse(self) -> bool:
        return self.dataset.sparse

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows if self.rest is None else self.rest.n_rows

    @property
    def n_values(self) -> int:
        return int(self.dataset.values_per_row * self.dataset.n_rows)

    def class_factors(self, class_weight: Any, classes: np.ndarray) -> np.ndarray:
        found = self.dataset.targets()
        return compute_class_weight(
            class_weight, classes=classes, y=self.dataset.classes, sample_weight=found.counts.astype(float)
        )

    def posed(self, pose: Pose) -> StreamedData:
        return replace(self, pose=pose)

    def head(self, n: int) -> np.ndarray:
        return self.pose(self.dataset.head_targets(n), None)[0]

    def hold_back(self, split: Any, fraction: float, random: Any) -> tuple[StreamedData, HeldOutRows]:
        """Rows at random, and no more than 50,000: not in the proportions of the classes, unless by chance."""
        n = min(math.ceil(fraction * self.dataset.n_rows), _MOST_HELD_BACK)
        if not 1 <= n < self.dataset.n_rows:
            raise InvalidArgumentError(
                f"validation_fraction={fraction!r} of {self.dataset.n_rows} rows leaves nothing to train or to score"
                " on. Change it, give X_val and y_val, or disable early_stopping."
            )
        seed = int(check_random_state(random).randint(_MAX_INT))
        rows, rest = self.dataset.source(self.pose).draw(n, seed)
        if rows.weight.size and not rows.weight.any():
            raise InvalidArgumentError(
                "The weights of the rows held back are all zero; another random_state draws others."
            )
        held = HeldOutRows(matrix_of(rows.x, self.shape[1]), rows.y, rows.weight if rows.weight.size else None)
        return replace(self, rest=rest), held

    def seen(self) -> dict[str, Any]:
        """What callbacks are shown: the Dataset, and if they ask for them its targets and weights, read once."""
        read = functools.cache(functools.partial(own_targets, self.dataset))
        return {
            "X": self.dataset,
            "y": (lambda: read()[0]) if self.dataset.target else None,
            "metadata": (lambda: {"sample_weight": read()[1]}) if self.dataset.weight else None,
        }

    def source(self, shuffle: bool) -> Source:
        if self.rest is not None:
            return replace(self.rest, shuffle=shuffle)
        return self.dataset.source(self.pose, shuffle)


Examples = InMemoryData | StreamedData


class OwnTargets(np.ndarray):
    """Targets of a Dataset, in memory: what ``score`` takes with that Dataset, which else brings its own."""


def own_targets(dataset: Dataset) -> tuple[OwnTargets, np.ndarray | None]:
    """``(n_rows,)`` targets of a Dataset as they were read, and weights or None."""
    targets, weights = [], []
    for _, target, weight in dataset.blocks():
        targets.append(target)
        weights.append(weight)
    return np.concatenate(targets).view(OwnTargets), np.concatenate(weights) if dataset.weight else None


def matrix_of(x: Any, n_features: int) -> Any:
    """Rows as kernels see them as a matrix again; nothing is copied."""
    if isinstance(x, DenseRows):
        return x.data.reshape(-1, n_features)
    return sp.csr_matrix((x.data, x.indices, x.indptr), shape=(len(x.indptr) - 1, n_features))


def is_sparse(x: Any) -> bool:
    """Whether rows of a matrix or of examples are CSR."""
    return x.sparse if isinstance(x, (InMemoryData, StreamedData)) else sp.issparse(x)
