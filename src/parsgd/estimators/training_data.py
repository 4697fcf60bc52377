"""Training data behind one interface: arrays in memory, or a Dataset that is streamed.

Both kinds have a shape, a dtype, targets, and a source that assigns rows to workers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse as sp
from sklearn.utils import compute_class_weight

from parsgd.core import Rows, Source
from parsgd.data.contracts import Pose
from parsgd.data.dataset import Dataset
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.validation.random_states import draw_seed
from parsgd.models.row_matrix import as_matrix
from parsgd.utils.row_arrays import rows_of

# Maximum rows of a stream held out for early stopping: they are kept in memory and scored every epoch.
_MAX_HELD_OUT = 50_000


# Held-out rows, their encoded targets, and weights or None.
HeldOutRows = tuple[Any, np.ndarray, np.ndarray | None]


def finite_class_weight(weights: np.ndarray) -> np.ndarray:
    """Return the weights of the classes; raise InvalidArgumentError if one is not finite."""
    if not np.isfinite(weights).all():
        raise InvalidArgumentError(f"class_weight must be finite; the weights of the classes are {weights}.")
    return weights


@dataclass(frozen=True, eq=False)
class InMemoryData:
    """Arrays in memory: ``x`` in C order or CSR, labels ``y`` as given, ``weight (n_rows,)`` or None.

    ``target`` and ``factor`` are the encoded targets and weights, set by :meth:`encode_targets`. ``subset`` holds the
    numbers of the training rows, or None for all.
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
        """Number of training rows."""
        return self.x.shape[0] if self.subset is None else len(self.subset)

    @property
    def n_values(self) -> int:
        return self.x.nnz if self.sparse else self.x.size

    def class_factors(self, class_weight: Any, classes: np.ndarray) -> np.ndarray:
        """Compute the weights of the classes ``(n_classes,)`` from the labels."""
        return finite_class_weight(compute_class_weight(class_weight, classes=classes, y=self.y))

    def encode_targets(self, encoder: Pose) -> InMemoryData:
        """Return the data with targets and weights encoded for the kernels."""
        target, factor = encoder(self.y, self.weight)
        return replace(self, target=target, factor=factor)

    def head(self, n: int) -> np.ndarray:
        """Return the first ``n`` targets."""
        return self.target[:n]

    def hold_out(
        self, split: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], fraction: float, random: Any
    ) -> tuple[InMemoryData, HeldOutRows]:
        """Split into training and held-out rows; ``split(target, weight)`` returns the numbers of both."""
        train, held_out = split(self.target, self.factor)
        weight = self.factor[held_out] if self.factor.size else None
        return replace(self, subset=train), (self.x[held_out], self.target[held_out], weight)

    def callback_arguments(self) -> dict[str, Any]:
        """Return the arguments of callbacks: all rows given to the fit, including held-out ones."""
        return {"X": self.x, "y": self.y, "metadata": None if self.weight is None else {"sample_weight": self.weight}}

    def rows(self) -> Rows:
        """Return all rows in the kernels' format."""
        return rows_of(self.x, self.target, self.factor)

    def source(self, shuffle: bool) -> Source:
        return ArraySource(self.rows(), shuffle, self.subset)


@dataclass(frozen=True, eq=False)
class StreamedData:
    """Rows of a Dataset, streamed; ``remaining`` is the source without the held-out rows."""

    dataset: Dataset
    encoder: Pose | None = None
    remaining: Any = None

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
        return self.dataset.n_rows if self.remaining is None else self.remaining.n_rows

    @property
    def n_values(self) -> int:
        return int(self.dataset.values_per_row * self.dataset.n_rows)

    def class_factors(self, class_weight: Any, classes: np.ndarray) -> np.ndarray:
        found = self.dataset.targets()
        counts = found.counts.astype(float)
        weights = compute_class_weight(class_weight, classes=classes, y=self.dataset.classes, sample_weight=counts)
        return finite_class_weight(weights)

    def encode_targets(self, encoder: Pose) -> StreamedData:
        return replace(self, encoder=encoder)

    def head(self, n: int) -> np.ndarray:
        return self.encoder(self.dataset.head_targets(n), None)[0]

    def hold_out(self, split: Any, fraction: float, random: Any) -> tuple[StreamedData, HeldOutRows]:
        """Draw at most 50,000 held-out rows at random, not stratified by class."""
        n = min(math.ceil(fraction * self.dataset.n_rows), _MAX_HELD_OUT)
        if not 1 <= n < self.dataset.n_rows:
            raise InvalidArgumentError(
                f"validation_fraction={fraction!r} of {self.dataset.n_rows} rows leaves no rows to train on or to"
                " score. Change it, pass X_val and y_val, or disable early_stopping."
            )
        seed = draw_seed(random)
        rows, remaining = self.dataset.source(self.encoder).draw(n, seed)
        if rows.weight.size and not rows.weight.any():
            raise InvalidArgumentError(
                "The weights of the held-out rows are all zero; another random_state draws other rows."
            )
        weight = rows.weight if rows.weight.size else None
        return replace(self, remaining=remaining), (as_matrix(rows, self.shape[1]), rows.y, weight)

    def callback_arguments(self) -> dict[str, Any]:
        """Return the arguments of callbacks: the Dataset, and its targets and weights, read once on first use."""
        read = functools.cache(functools.partial(own_targets, self.dataset))
        return {
            "X": self.dataset,
            "y": (lambda: read()[0]) if self.dataset.target else None,
            "metadata": (lambda: {"sample_weight": read()[1]}) if self.dataset.weight else None,
        }

    def source(self, shuffle: bool) -> Source:
        if self.remaining is not None:
            return replace(self.remaining, shuffle=shuffle)
        return self.dataset.source(self.encoder, shuffle)


Examples = InMemoryData | StreamedData


class OwnTargets(np.ndarray):
    """In-memory targets of a Dataset; marks ``y`` that ``score`` accepts together with that Dataset."""


def own_targets(dataset: Dataset) -> tuple[OwnTargets, np.ndarray | None]:
    """Read the targets ``(n_rows,)`` of a Dataset, and its weights or None."""
    targets, weights = [], []
    for _, target, weight in dataset.blocks():
        targets.append(target)
        weights.append(weight)
    return np.concatenate(targets).view(OwnTargets), np.concatenate(weights) if dataset.weight else None


def is_sparse(x: Any) -> bool:
    """Return True if rows of a matrix or of examples are CSR."""
    return x.sparse if isinstance(x, (InMemoryData, StreamedData)) else sp.issparse(x)
