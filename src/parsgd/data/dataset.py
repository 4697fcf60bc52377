"""``Dataset``: data that are read while they are trained on, as users hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse as sp

from parsgd.data.columns.encoder import Encoder
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.sources.pieces import Chunk, Piece, Pose
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.data.subsets import reread, split
from parsgd.data.targets import Targets, scanned, targets_only
from parsgd.errors import DataFileError, check_between, check_count

# Rows are taken from so many pieces at most: to take them from all would be to read all.
_TAKEN_PIECES = 32


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows that are read when they are needed; made by :func:`parsgd.open_dataset`.

    It holds where the rows are, not the rows, and is given to ``fit``, ``predict`` and ``score`` in place of ``X``.

    Attributes
    ----------
    pieces : tuple
        The parts that are read each by itself: row groups, stretches of a file, blocks.
    n_features : int
    dtype : str
        ``"float32"`` or ``"float64"``.
    sparse : bool
        Whether rows are CSR.
    name : str
        What errors call it.
    target, weight : bool
        Whether rows have targets, and weights.
    columns : Encoder, SvmlightColumns or None
        How columns become features, with all that was learned; to be given to ``open_dataset(columns=...)`` for other
        data.  None where there are no columns.
    notes : tuple of str
        Remarks on the data: columns that were left out, a separator that is not a comma.
    shuffle_buffer_rows : int or None
        How many rows are shuffled among each other.

    Examples
    --------
    >>> import parsgd, pyarrow as pa
    >>> table = pa.table({"age": [20.0, 30.0, 40.0], "old": ["no", "no", "yes"]})
    >>> data = parsgd.open_dataset(table, target="old")
    >>> data.shape, data.feature_names, data.classes
    ((3, 1), ['age'], array(['no', 'yes'], dtype='<U3'))
    """

    pieces: tuple[Piece, ...]
    n_features: int
    dtype: str
    sparse: bool
    name: str
    target: bool = False
    weight: bool = False
    columns: Encoder | SvmlightColumns | None = None
    shuffle_buffer_rows: int | None = None
    # what must not be removed as long as this is there
    keeps: Any = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def n_rows(self) -> int:
        return sum(piece.n_rows for piece in self.pieces)

    def __len__(self) -> int:
        return self.n_rows

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_features

    @property
    def feature_names(self) -> list[str]:
        """What each feature is; ``x0, x1, ...`` where columns have no names."""
        return [f"x{i}" for i in range(self.n_features)] if self.columns is None else self.columns.feature_names

    @cached_property
    def _targets(self) -> Targets:
        return scanned(self.pieces if self.target else self._refused(), self.name)

    def targets(self) -> Targets:
        """What one scan of the targets tells; the scan is made once."""
        return self._targets

    @property
    def classes(self) -> np.ndarray:
        """``(n_classes,)``: the different targets, found in one scan."""
        found = self.targets().values
        if found is None:
            raise DataFileError(f"{self.name}: has more than 100,000 different targets; these are no classes.")
        return found

    @cached_property
    def values_per_row(self) -> float:
        """Stored values a row; of CSR rows those of the first chunk."""
        if not self.sparse:
            return float(self.n_features)
        chunk = next((chunk for piece in self.pieces if piece.n_rows for chunk in piece.chunks()), None)
        return 1.0 if chunk is None else chunk.x.nnz / max(chunk.x.shape[0], 1)

    def source(self, pose: Pose, shuffle: bool = True) -> StreamingSource:
        """The rows as a fit takes them, with targets and weights as ``pose`` makes them."""
        values = self.values_per_row if self.sparse else None
        return StreamingSource(
            self.pieces, self.n_features, self.dtype, self.sparse, pose, shuffle, self.shuffle_buffer_rows, values
        )

    def blocks(self, rows: int | None = None) -> Iterator[Chunk]:
        """``(x, y, weight)`` of all rows in stored order, ``rows`` at a time; None: as they are read."""
        if rows is None:
            for piece in self.pieces:
                yield from piece.chunks()
            return
        check_count(rows, "rows", "Dataset.blocks", optional=False)
        held: list[Chunk] = []
        for chunk in self.blocks():
            held.append(chunk)
            while sum(part.x.shape[0] for part in held) >= rows:
                whole = _joined(held)
                yield _rows(whole, slice(0, rows))
                rest = _rows(whole, slice(rows, None))
                held = [rest] if rest.x.shape[0] else []
        if held:
            yield _joined(held)

    def head_targets(self, n_rows: int) -> np.ndarray:
        """The first targets, ``n_rows`` of them or fewer; of a table nothing else is read."""
        found: list[np.ndarray] = []
        for piece in self.pieces if self.target else self._refused():
            for chunk in targets_only(piece).chunks():
                found.append(chunk.y)
                if sum(map(len, found)) >= n_rows:
                    return np.concatenate(found)[:n_rows]
        return np.concatenate(found) if found else np.zeros(0)

    def take(self, n: int, seed: int = 0) -> Chunk:
        """``(x, y, weight)`` of ``n`` rows at random, in stored order, or of all if there are fewer.

        They are of 32 pieces drawn at random, or of more if these have too few rows.
        """
        check_count(n, "n", "Dataset.take", optional=False)
        rng = np.random.default_rng(seed)
        chosen, found = [], 0
        for number in rng.permutation(len(self.pieces)):
            if len(chosen) >= _TAKEN_PIECES and found >= n:
                break
            chosen.append(int(number))
            found += self.pieces[number].n_rows
        drawn = np.sort(rng.choice(found, min(n, found), replace=False))
        parts, at = [], 0
        for chunk in (chunk for number in sorted(chosen) for chunk in self.pieces[number].chunks()):
            size = chunk.x.shape[0]
            own = drawn[np.searchsorted(drawn, at) : np.searchsorted(drawn, at + size)] - at
            if len(own):
                parts.append(_rows(chunk, own))
            at += size
        if not parts:
            raise DataFileError(f"{self.name}: has no rows to take.")
        return _joined(parts)

    def without_targets(self) -> Dataset:
        """The same rows without their targets and weights, which are then not read."""
        pieces = tuple(reread(piece, target=None, weight=None) for piece in self.pieces)
        return replace(self, pieces=pieces, target=False, weight=False)

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """``(rest, drawn)``: each row is drawn with probability ``fraction``; what is drawn depends on the seed alone.

        Both read all pieces, and leave out what is not theirs.

        >>> import numpy as np, parsgd
        >>> rest, drawn = parsgd.open_dataset(np.ones((100, 2)), target=np.zeros(100)).split(0.2, seed=0)
        >>> rest.n_rows + drawn.n_rows
        100
        """
        check_between(fraction, 0, 1, "fraction", "Dataset.split")
        parts = split(self.pieces, float(fraction), int(seed))
        rest, drawn = (replace(self, pieces=tuple(piece for piece in part if piece.n_rows)) for part in parts)
        return rest, drawn

    def describe(self) -> str:
        """What it is, in one sentence.

        >>> import numpy as np, parsgd
        >>> parsgd.open_dataset([(np.ones((5, 2)), np.zeros(5))]).describe()
        '1 block: 5 rows of 2 features in 1 piece, dense float32, with targets'
        """
        extras = [word for word, there in (("targets", self.target), ("weights", self.weight)) if there]
        return (
            f"{self.name}: {self.n_rows:,} rows of {self.n_features:,} features in {len(self.pieces):,}"
            f" piece{'s' * (len(self.pieces) != 1)}, {'CSR' if self.sparse else 'dense'} {self.dtype},"
            f" {'with ' + ' and '.join(extras) if extras else 'without targets'}{''.join(f'; {n}' for n in self.notes)}"
        )

    def __repr__(self) -> str:
        return f"<Dataset {self.describe()}>"

    def _refused(self) -> tuple:
        raise DataFileError(f"{self.name}: has no targets. Name the column: open_dataset(..., target=...).")


def _rows(chunk: Chunk, at: Any) -> Chunk:
    return Chunk(*(None if part is None else part[at] for part in chunk))


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    xs, ys, weights = zip(*chunks, strict=True)
    x = sp.vstack(xs, format="csr") if sp.issparse(xs[0]) else np.concatenate(xs)
    return Chunk(x, *(None if part[0] is None else np.concatenate(part) for part in (ys, weights)))
