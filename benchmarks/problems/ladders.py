"""Problems of one family that grow in one direction, step by step, over about three decades.

Each ladder gives rungs, smallest first: `size` along the direction, rows to train on, and what a pass cannot do
without, bytes to be read and operations of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from benchmarks.data import normal_rows, word_rows
from benchmarks.problems.network_rows import network_rows
from benchmarks.work import streamed_bytes


@dataclass(frozen=True, eq=False)
class Rung:
    size: float
    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray

    @property
    def n_values(self) -> int:
        return self.X.nnz if sparse.issparse(self.X) else self.X.size

    @property
    def streamed_bytes(self) -> int:
        return streamed_bytes(self.X, self.y)

    @property
    def operations(self) -> int:
        """A product and a sum for each value and output, for the prediction and for the step."""
        classes = int(self.y.max()) + 1
        return 4 * self.n_values * (classes if classes > 2 else 1)


def ladder(greatest: int, quick: bool) -> list[int]:
    """Seven sizes up to `greatest`, each ``10**0.5`` times the one before; in a quick run the three smallest."""
    sizes = [round(greatest / 10 ** (step / 2)) for step in range(6, -1, -1)]
    return sizes[:3] if quick else sizes


def dense_rows(quick: bool) -> Iterator[Rung]:
    X, y = normal_rows(max(ladder(2_000_000, quick)), 54)
    return (Rung(n, X[:n], y[:n]) for n in ladder(2_000_000, quick))


def sparse_rows(quick: bool) -> Iterator[Rung]:
    # the many rows are copies of fewer: what a pass costs does not depend on what is in them
    part, labels = word_rows(10_000 if quick else 100_000, 47_000, 75)
    copies = max(1, max(ladder(1_000_000, quick)) // len(labels))
    X, y = sparse.vstack([part] * copies, format="csr"), np.tile(labels, copies)
    return (Rung(n, X[:n], y[:n]) for n in ladder(1_000_000, quick))


def dense_features(quick: bool) -> Iterator[Rung]:
    return (Rung(n, *normal_rows(10_000, n)) for n in ladder(10_000, quick))


def sparse_features(quick: bool) -> Iterator[Rung]:
    return (Rung(n, *word_rows(20_000, n, 75)) for n in ladder(1_000_000, quick))


def classes(quick: bool) -> Iterator[Rung]:
    for n in ladder(3_000, quick):
        X, y = network_rows(5_000, 50, n)
        # all classes there, whatever the rule says
        y[:n] = np.arange(n)
        yield Rung(n, X, y)


def values_a_row(quick: bool) -> Iterator[Rung]:
    """Features that are drawn twice for a row are one value, so the sizes are counted."""
    for n in ladder(1_000, quick):
        X, y = word_rows(20_000, 100_000, n)
        yield Rung(X.nnz / len(y), X, y)


LADDERS: dict[str, Callable[[bool], Iterator[Rung]]] = {
    "rows, dense, 54 columns": dense_rows,
    "rows, sparse, 75 of 47,000 columns": sparse_rows,
    "columns, dense, 10,000 rows": dense_features,
    "columns, sparse, 20,000 rows of 75 values": sparse_features,
    "classes, 5,000 x 50, one against all": classes,
    "values a row, sparse, 20,000 rows": values_a_row,
}
