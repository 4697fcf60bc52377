"""Rows of a search: arrays in memory, or a data set of which the targets are in memory and the rows are streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.core import Source
from parsgd.data.contracts import Pose
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.training_data import Examples, InMemoryData, StreamedData, own_targets

# Encodes targets in the kernels' form.
EncodeTargets = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class SearchRows:
    """``labels`` as given, and encoded: ``target`` and ``factor`` as in a fit, ``kernel_target`` for the columns.

    Of a data set in files all of these are in memory, 60 bytes per row together with the folds.
    """

    examples: Examples
    labels: np.ndarray
    target: np.ndarray
    factor: np.ndarray
    kernel_target: np.ndarray
    pose: Pose

    @property
    def n_rows(self) -> int:
        return len(self.labels)

    @property
    def for_splitter(self) -> Any:
        """Rows as an argument of ``cv.split``, which reads their number only."""
        return self.examples.x if isinstance(self.examples, InMemoryData) else np.empty((self.n_rows, 0))

    def source(self, shuffle: bool) -> Source:
        """Return the source of the rows, with targets for the kernels."""
        if isinstance(self.examples, InMemoryData):
            data = InMemoryData(self.examples.x, target=self.kernel_target, factor=self.factor)
            return data.source(shuffle)
        return self.examples.dataset.source(self.pose, shuffle)

    def chunks(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(first, x)``, all rows in stored order; arrays in memory are one chunk."""
        if isinstance(self.examples, InMemoryData):
            yield 0, self.examples.x
            return
        first = 0
        for chunk in self.examples.dataset.without_targets().blocks():
            yield first, chunk.x
            first += chunk.n_rows


def encode_rows(examples: Examples, encoder: Pose, encode: EncodeTargets, owner: str) -> SearchRows:
    """Encode the targets of ``examples``, and read those of a data set.

    Raises
    ------
    InvalidArgumentError
        For a collection of a cluster, whose rows this process does not read.
    """
    if isinstance(examples, StreamedData):
        dataset = examples.dataset
        if any(piece.futures() or piece.home is not None for piece in dataset.pieces):
            raise InvalidArgumentError(
                f"{owner} does not read collections of a cluster. Pass the files, with open_dataset(path, target=...)."
            )
        labels, weight = own_targets(dataset)
        labels = np.asarray(labels)
    else:
        assert examples.y is not None
        labels, weight = examples.y, examples.weight
    target, factor = encoder(labels, weight)

    def pose(y: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        encoded, weights = encoder(y, w)
        return encode(encoded), weights

    return SearchRows(examples, labels, target, factor, encode(target), pose)
