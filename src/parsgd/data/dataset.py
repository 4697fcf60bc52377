"""``Dataset``: the user-facing class of streaming data."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse as sp

from parsgd.data.columns.encoder import Encoder
from parsgd.data.contracts import Chunk, Piece, Pose, pose_numbers, reread
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.open_options import OpenOptions
from parsgd.data.sources.part_piece import PartPiece, drawn_rows, labeled_part, part_of
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.data.targets import Targets, scanned, targets_only
from parsgd.errors import DataFileError, check_between, check_count

# Maximum number of pieces from which rows are taken; taking them from all would read all data.
_TAKEN_PIECES = 32


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows that are read on demand; created by :func:`parsgd.open_dataset`.

    It holds the location of the rows, not the rows. ``fit``, ``predict`` and ``score`` take it in place of ``X``.

    Attributes
    ----------
    pieces : tuple
        Parts that are read separately: row groups, spans of a file, blocks.
    n_features : int
    dtype : str
        ``"float32"`` or ``"float64"``.
    sparse : bool
        True if rows are CSR.
    name : str
        Name in errors.
    target, weight : bool
        True if rows have targets, and weights.
    columns : Encoder, SvmlightColumns or None
        Encoding of columns as features, with all learned statistics; pass it as ``open_dataset(columns=...)`` for other
        data. None if there are no columns.
    notes : tuple of str
        Notes on the data: columns left out, a separator other than a comma.
    shuffle_buffer_rows : int or None
        Number of rows per shuffle buffer.

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
    # kept alive as long as the Dataset, such as a temporary folder
    keeps: Any = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def n_rows(self) -> int:
        return sum(piece.n_rows for piece in self.pieces)

    @classmethod
    def of_rows(
        cls, pieces: Sequence[Piece], request: OpenOptions, name: str, form: tuple[int, bool, bool, bool], **others: Any
    ) -> Dataset:
        """Make a Dataset of rows of ``form``: number of features, and True if CSR, with targets, with weights."""
        width, csr, target, weight = form
        rows = request.shuffle_buffer_rows
        return cls(tuple(pieces), width, request.dtype, csr, name, target, weight, shuffle_buffer_rows=rows, **others)

    def __len__(self) -> int:
        return self.n_rows

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_features

    @property
    def feature_names(self) -> list[str]:
        """Names of the features; ``x0, x1, ...`` if columns have no names."""
        return [f"x{i}" for i in range(self.n_features)] if self.columns is None else self.columns.feature_names

    @cached_property
    def _targets(self) -> Targets:
        return scanned(self.pieces if self.target else self._refused(), self.name)

    def targets(self) -> Targets:
        """Return statistics of the targets, from one scan that is cached."""
        return self._targets

    @property
    def classes(self) -> np.ndarray:
        """Distinct targets ``(n_classes,)``, found in one scan."""
        found = self.targets().values
        if found is None:
            raise DataFileError(f"{self.name}: has more than 100,000 different targets; these cannot be classes.")
        return found

    @cached_property
    def values_per_row(self) -> float:
        """Stored values per row; for CSR rows, the mean of the first chunk."""
        if not self.sparse:
            return float(self.n_features)
        chunk = next((chunk for piece in self.pieces if piece.n_rows for chunk in piece.chunks()), None)
        return 1.0 if chunk is None else chunk.x.nnz / max(chunk.x.shape[0], 1)

    def source(self, pose: Pose | None = None, shuffle: bool = True) -> StreamingSource:
        """Make the source of a fit; ``pose`` converts targets and weights, by default to numbers of ``dtype``."""
        pose = functools.partial(pose_numbers, dtype=self.dtype) if pose is None else pose
        values = self.values_per_row if self.sparse else None
        return StreamingSource(
            self.pieces, self.n_features, self.dtype, self.sparse, pose, shuffle, self.shuffle_buffer_rows, values
        )

    def blocks(self, rows: int | None = None) -> Iterator[Chunk]:
        """Yield ``(x, y, weight)`` of all rows in stored order, ``rows`` at a time; None: in chunks as read."""
        if rows is None:
            for piece in self.pieces:
                yield from piece.chunks()
            return
        check_count(rows, "rows", "Dataset.blocks", optional=False)
        held: list[Chunk] = []
        for chunk in self.blocks():
            held.append(chunk)
            while sum(part.n_rows for part in held) >= rows:
                whole = _joined(held)
                yield whole.select(slice(0, rows))
                rest = whole.select(slice(rows, None))
                held = [rest] if rest.n_rows else []
        if held:
            yield _joined(held)

    def head_targets(self, n_rows: int) -> np.ndarray:
        """Return up to ``n_rows`` first targets; of a table, only the target column is read."""
        found: list[np.ndarray] = []
        for piece in self.pieces if self.target else self._refused():
            for chunk in targets_only(piece).chunks():
                found.append(chunk.y)
                if sum(map(len, found)) >= n_rows:
                    return np.concatenate(found)[:n_rows]
        return np.concatenate(found) if found else np.zeros(0)

    def take(self, n: int, seed: int = 0) -> Chunk:
        """Return ``(x, y, weight)`` of ``n`` random rows in stored order, or of all rows if there are fewer.

        The rows come from 32 random pieces, or from more if these have too few rows.
        """
        check_count(n, "n", "Dataset.take", optional=False)
        drawn = drawn_rows(self.pieces, n, _TAKEN_PIECES, np.random.default_rng(seed))
        parts = [chunk for number, taken in drawn for chunk in part_of(self.pieces[number], taken).chunks()]
        if not parts:
            raise DataFileError(f"{self.name}: has no rows to take.")
        return _joined(parts)

    def without_targets(self) -> Dataset:
        """Return the Dataset without targets and weights, which are then not read."""
        pieces = tuple(reread(piece, target=None, weight=None) for piece in self.pieces)
        return replace(self, pieces=pieces, target=False, weight=False)

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return ``(rest, drawn)``: each row is drawn with probability ``fraction``.

        The rows drawn from a piece depend only on the seed and the index of the piece. Both Datasets read all pieces,
        and skip each other's rows.

        >>> import numpy as np, parsgd
        >>> rest, drawn = parsgd.open_dataset(np.ones((100, 2)), target=np.zeros(100)).split(0.2, seed=0)
        >>> rest.n_rows + drawn.n_rows
        100
        """
        check_between(fraction, 0, 1, "fraction", "Dataset.split")
        rest: list[PartPiece] = []
        drawn: list[PartPiece] = []
        for number, piece in enumerate(self.pieces):
            taken = np.random.default_rng((int(seed), number)).random(piece.n_rows) < float(fraction)
            for parts, rows in ((rest, ~taken), (drawn, taken)):
                if rows.any():
                    parts.append(labeled_part(piece, rows))
        return replace(self, pieces=tuple(rest)), replace(self, pieces=tuple(drawn))

    def describe(self) -> str:
        """Summarize the Dataset in one sentence.

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


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    xs, ys, weights = zip(*chunks, strict=True)
    x = sp.vstack(xs, format="csr") if sp.issparse(xs[0]) else np.concatenate(xs)
    return Chunk(x, *(None if part[0] is None else np.concatenate(part) for part in (ys, weights)))
