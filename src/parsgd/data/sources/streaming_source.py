"""Out-of-core rows: pieces, assigned to workers and streamed through shuffle buffers (windows).

An epoch of a shard is one stream of rows: its pieces in a new random order per epoch, each in stored order. The stream
is cut into windows of equal size, across piece boundaries, and the rows of a window are visited in random order. Rows
of a piece therefore stay together, and mix only with those of adjacent pieces. With data sorted by target, windows of
few pieces shuffle worse than a permutation of all rows (docs/results/shuffling.md quantifies it). With
``shuffle=False`` rows keep stored order.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeGuard

import numpy as np

from parsgd.core import RowBlock, Rows, Shard
from parsgd.data.contracts import Piece, Pose
from parsgd.data.sources.array_source import part_sizes
from parsgd.data.sources.part_piece import drawn_rows, part_of
from parsgd.data.sources.partitioning import assign_pieces, in_stored_order
from parsgd.data.sources.piece_reader import PosedRows, RowSpan
from parsgd.data.sources.prefetch import Prefetcher, WindowIndex
from parsgd.data.sources.shuffle_buffer import ShuffleBuffer, bytes_per_row, usual_rows
from parsgd.errors import InvalidArgumentError
from parsgd.utils import first_use

# Separate the seeds of the order of pieces, of the order of rows in a window, and of drawing.
_PIECE_SEED, _ROW_SEED, _DRAW_SEED = 0x9EC5, 0x7045, 0xD4A4
# Drawing: maximum number of pieces, rows per piece, and minimum number of pieces. Drawing from all pieces would read
# all data.
_DRAWN_PIECES, _ROWS_PER_PIECE, _FEWEST_PIECES = 32, 1000, 8


@dataclass(frozen=True)
class StreamingSource:
    """The rows of ``pieces``.

    ``dtype``, ``sparse`` and ``n_features`` describe the rows of the pieces; ``pose`` converts targets and weights for
    kernels. ``shuffle``: visit pieces, and rows in a window, in random order instead of stored order.
    ``shuffle_buffer_rows``: rows per window; None: a power of two, in about 16 MiB. A shard holds at most two windows,
    the current one and the next. ``values_per_row``: mean number of stored values per CSR row, if known.
    """

    pieces: tuple[Piece, ...]
    n_features: int
    dtype: str
    sparse: bool
    pose: Pose
    shuffle: bool = True
    shuffle_buffer_rows: int | None = None
    values_per_row: float | None = None

    # not replicated: drawing from all rows with replacement would read a piece per draw
    partitions: ClassVar[frozenset[str]] = frozenset({"shuffled", "contiguous", "common_order"})

    def __post_init__(self) -> None:
        if self.shuffle_buffer_rows is not None and self.shuffle_buffer_rows < 1:
            raise InvalidArgumentError(
                f"The 'shuffle_buffer_rows' parameter of StreamingSource must be an int >= 1, or None. Got"
                f" {self.shuffle_buffer_rows!r} instead."
            )

    @functools.cached_property
    def n_rows(self) -> int:
        return sum(piece.n_rows for piece in self.pieces)

    def split(
        self, n_workers: int, seed: int, partition: str = "shuffled", shard_fractions: np.ndarray | None = None
    ) -> Sequence[StreamingShard]:
        """Assign the pieces to ``n_workers``, in proportion to ``shard_fractions`` if present.

        Pieces stay whole if sizes then differ by at most a tenth (:mod:`parsgd.data.sources.partitioning`).
        """
        spans = [RowSpan(piece, 0, piece.n_rows) for piece in self.pieces if piece.n_rows]
        shard_fractions = np.ones(n_workers) if shard_fractions is None else np.asarray(shard_fractions, dtype=float)
        if partition == "common_order":
            sizes = part_sizes(self.n_rows, shard_fractions)
            return [self._shard(number, spans, share=size) for number, size in enumerate(sizes)]
        parts = (
            assign_pieces(spans, shard_fractions, seed)
            if partition == "shuffled"
            else in_stored_order(spans, shard_fractions)
        )
        return [self._shard(number, part) for number, part in enumerate(parts)]

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, StreamingSource]:
        """Return ``n_rows`` random rows in memory, and the source without them.

        The rows come from 8 to 32 random pieces, depending on ``n_rows``, since each piece is read from its beginning.
        More pieces are used if these have too few rows.
        """
        fewest = min(max(n_rows // _ROWS_PER_PIECE, _FEWEST_PIECES), _DRAWN_PIECES)
        parts = [piece for piece in self.pieces if piece.n_rows]
        window = self.new_buffer(n_rows)
        for number, taken in drawn_rows(parts, n_rows, fewest, np.random.default_rng((seed, _DRAW_SEED))):
            if taken.any():
                part = part_of(parts[number], taken)
                for rows in RowSpan(part, 0, part.n_rows).read(self.pose):
                    window.put(rows, 0, len(rows.y))
                parts[number] = part_of(parts[number], ~taken)
        return window.rows(), replace(self, pieces=tuple(parts))

    @property
    def row_bytes(self) -> float:
        """Memory of one row; for CSR rows estimated if unknown."""
        return bytes_per_row(self.n_features, self.dtype, self.sparse, self.values_per_row)

    def new_buffer(self, n_rows: int) -> ShuffleBuffer:
        """Make an empty buffer for up to ``n_rows`` of its rows."""
        return ShuffleBuffer(n_rows, self.n_features, self.dtype, self.sparse, self.values_per_row)

    def _shard(self, number: int, spans: Sequence[RowSpan], share: int | None = None) -> StreamingShard:
        rows = sum(span.n_rows for span in spans)
        shuffle_buffer_rows = min(self.shuffle_buffer_rows or usual_rows(self.row_bytes), max(rows, 1))
        return StreamingShard(tuple(spans), replace(self, pieces=()), shuffle_buffer_rows, share, number)


@dataclass
class StreamingShard(Shard):
    """The rows of ``spans``, visited window by window.

    ``source`` describes the rows and how they are read; it has no pieces. With ``share``, all workers use one common
    order, and this one visits ``share`` rows per epoch. ``number`` is the shard's index, for errors. A shard that
    fits in one window is read once and kept in memory.
    """

    spans: tuple[RowSpan, ...]
    source: StreamingSource
    shuffle_buffer_rows: int
    share: int | None = None
    number: int = 0
    _ahead: Prefetcher | None = field(default=None, repr=False, compare=False)
    _last_order: tuple[WindowIndex, np.ndarray] | None = field(default=None, repr=False, compare=False)
    n_rows: int = field(init=False)
    cost: float = field(init=False)
    # machine that holds most of its rows in memory; None if they must be read
    home: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._stored = sum(span.n_rows for span in self.spans)
        self.n_rows = self._stored if self.share is None else self.share
        self.cost = self.source.row_bytes / (np.dtype(self.source.dtype).itemsize + 4 * self.source.sparse)
        rows: Counter[str] = Counter()
        for span in self.spans:
            if span.piece.home is not None:
                rows[span.piece.home] += span.n_rows
        self.home = max(rows, key=lambda home: rows[home], default=None)

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        """Yield the windows of the epoch from visit ``start`` on; each is valid until the next one is requested."""
        while start < self._stored:
            number, passed = divmod(start, self.shuffle_buffer_rows)
            window = self._window(WindowIndex(seed, epoch, number))
            yield RowBlock(window.rows(), self._order(WindowIndex(seed, epoch, number))[passed:])
            start = (number + 1) * self.shuffle_buffer_rows

    def row_numbers(self, seed: int, epoch: int, start: int) -> np.ndarray:
        """Return the numbers, in stored order, of the rows in the window of visit ``start``.

        The order in which they are visited is that of the block.
        """
        first = start // self.shuffle_buffer_rows * self.shuffle_buffer_rows
        stop = min(first + self.shuffle_buffer_rows, self._stored)
        begins = np.cumsum([0, *(span.n_rows for span in self.spans)])
        found, at = [np.empty(0, dtype=np.int64)], 0
        for number in self._piece_order(seed, epoch):
            n_rows = self.spans[number].n_rows
            inside = np.arange(max(first - at, 0), min(stop - at, n_rows), dtype=np.int64)
            found.append(begins[number] + inside)
            at += n_rows
        return np.concatenate(found)

    def futures(self) -> list[Any]:
        """Return the Dask futures that the shard needs (``Piece.futures``)."""
        return [future for span in self.spans for future in span.piece.futures()]

    def filled(self, values: Sequence[Any]) -> StreamingShard:
        """Replace its futures by their values."""
        left = iter(values)
        pieces = [span.piece.filled(left) for span in self.spans]
        spans = tuple(replace(span, piece=piece) for span, piece in zip(self.spans, pieces, strict=True))
        return replace(self, spans=spans, _ahead=None, _last_order=None)

    def close(self) -> None:
        """End the prefetch thread, and release the windows."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    @property
    def _one_window(self) -> bool:
        return self._stored <= self.shuffle_buffer_rows

    def _window(self, place: WindowIndex) -> ShuffleBuffer:
        if self._ahead is None:
            new_buffer = functools.partial(self.source.new_buffer, self.shuffle_buffer_rows)
            self._ahead = Prefetcher(self._examples, self._size, self._following, new_buffer)
        try:
            # a single window has the same rows in every epoch, in another visiting order
            return self._ahead.window(WindowIndex(0, 0, 0) if self._one_window else place)
        except Exception as error:
            error.add_note(f"Shard {self.number} was being read, epoch #{place.epoch + 1}.")
            raise

    def _order(self, place: WindowIndex) -> np.ndarray:
        """Return the visiting order of the rows of a window."""
        if self._last_order is None or self._last_order[0] != place:
            order = np.empty(self._size(place), dtype=np.int32)
            if self.source.shuffle:
                permute = first_use.kernels("shuffling").permute

                permute(order, int(np.random.SeedSequence((*place, _ROW_SEED)).generate_state(1)[0]))
            else:
                order[:] = np.arange(len(order))
            self._last_order = (place, order)
        return self._last_order[1]

    def _examples(self, place: WindowIndex) -> Generator[PosedRows]:
        """Stream the examples from a window on, epoch after epoch."""
        skip, epoch = place.number * self.shuffle_buffer_rows, place.epoch
        while True:
            for span in self._pieces(place.seed, epoch):
                if skip < span.n_rows:
                    yield from span.read(self.source.pose, skip)
                skip = max(skip - span.n_rows, 0)
            epoch += 1

    def _pieces(self, seed: int, epoch: int) -> Sequence[RowSpan]:
        return [self.spans[number] for number in self._piece_order(seed, epoch)]

    def _piece_order(self, seed: int, epoch: int) -> list[int]:
        """Return the numbers of the pieces in the order of an epoch."""
        if not self.source.shuffle or self._one_window:
            return list(range(len(self.spans)))
        return np.random.default_rng((seed, epoch, _PIECE_SEED)).permutation(len(self.spans)).tolist()

    def _size(self, place: WindowIndex) -> int:
        return min(self.shuffle_buffer_rows, self._stored - place.number * self.shuffle_buffer_rows)

    def _following(self, place: WindowIndex) -> WindowIndex | None:
        if self._one_window:
            return None
        last = (place.number + 1) * self.shuffle_buffer_rows >= self._stored
        return WindowIndex(place.seed, place.epoch + 1, 0) if last else place._replace(number=place.number + 1)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None, "_last_order": None}


def is_streaming(shard: Shard) -> TypeGuard[StreamingShard]:
    """Return True if the shard yields windows of its rows."""
    return isinstance(shard, StreamingShard)
