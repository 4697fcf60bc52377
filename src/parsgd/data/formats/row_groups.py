"""Row groups of Parquet files as pieces, and detection of changed files."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import ArrowBatch, ArrowType, BasePiece, Chunk, LazyRows, Reading
from parsgd.data.formats.paths import Address, Stamp, file_system, is_address
from parsgd.data.formats.tables import targets_and_weights
from parsgd.data.sources.piece_reader import error_location
from parsgd.errors import DataFileError

# Values decoded at a time, and the minimum and maximum rows of a batch.
_DECODED_VALUES, _FEWEST_ROWS, _MOST_ROWS = 1 << 22, 8192, 65_536
_CHUNK_ROWS = 16_384
# Buffer per column of local files, in bytes: not even a compressed row group need fit in memory.
_BUFFER_BYTES = 1 << 16
_UNCHANGED = "Files must not change during a fit; open the data again."


@dataclass(frozen=True)
class ParquetFile:
    """A file as it was when the data were opened.

    ``path`` is local, or an address that fsspec opens with ``options``. ``partition`` holds the values in its folder
    names, ``types`` the type of each column in the file, ``group_rows`` the rows of each row group. ``stamp`` holds the
    size in bytes and, if available, the modification time.
    """

    path: str
    options: Mapping[str, Any]
    partition: Mapping[str, Any]
    types: Mapping[str, Any]
    group_rows: tuple[int, ...]
    stamp: Stamp

    def type_of(self, name: str) -> ArrowType:
        """Return the type of a column of the file, or of its folder names; null if it is in neither."""
        return self.types[name] if name in self.types else arrow().scalar(self.partition.get(name)).type

    def open(self) -> Any:
        """Open the unchanged file as ``pyarrow.parquet.ParquetFile``.

        Raises DataFileError if it is missing, changed or damaged.
        """
        import pyarrow.parquet as pq

        self.check()
        # page checksums are verified if the file has them
        settings = {"page_checksum_verification": True}
        with _read_errors(self, self.path):
            if is_address(self.path):
                # over a network, few long reads are faster than many short ones
                system, path = file_system(self.path, self.options)
                opened = pq.ParquetFile(system.open(path, "rb"), pre_buffer=True, **settings)
            else:
                opened = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_BUFFER_BYTES, **settings)
        counts = tuple(opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups))
        if counts != self.group_rows:
            opened.close(force=True)
            raise DataFileError(
                f"{self.path} has changed since it was opened: it had {len(self.group_rows)} row groups of"
                f" {sum(self.group_rows):,} rows in all, and has {len(counts)} of {sum(counts):,}. {_UNCHANGED}"
            )
        return opened

    def check(self) -> None:
        """Raise DataFileError if the file is missing, or has changed since it was opened."""
        try:
            now = Address(self.path, self.options).stamp()
        except OSError as error:
            raise DataFileError(
                f"{self.path} is missing: it existed when the data were opened. {_UNCHANGED}"
            ) from error
        if now != self.stamp:
            raise DataFileError(
                f"{self.path} has changed since it was opened: it had {self.stamp[0]:,} bytes, and has {now[0]:,}"
                f" (or was rewritten). {_UNCHANGED}"
            )


@contextlib.contextmanager
def _read_errors(file: ParquetFile, name: str) -> Generator[None]:
    """Convert errors of pyarrow to DataFileError, after a check that the file is unchanged."""
    try:
        yield
    except (arrow().ArrowException, OSError) as error:
        file.check()
        raise DataFileError(
            f"{name} cannot be read: {sentence(error)} The file is damaged; write it again, or leave it out."
        ) from error


@dataclass(frozen=True)
class RowGroup(BasePiece):
    """One row group of a Parquet file: a :class:`~parsgd.data.contracts.Piece`.

    ``finite``: the encoder has checked the rows for NaN and infinite values, with the column's name. ``casts`` maps the
    columns with another type in this file to the type in the dataset. ``filter`` is an Arrow expression that selects
    the ``n_rows`` rows of the row group.
    """

    file: ParquetFile
    number: int
    n_rows: int
    reading: Reading
    casts: Mapping[str, ArrowType] = field(default_factory=dict[str, ArrowType])
    filter: Any = None

    finite = True

    @property
    def name(self) -> str:
        return f"{self.file.path}, row group {self.number}"

    def chunks(self) -> Iterator[Chunk]:
        """Read its rows in stored order, a few thousand at a time.

        Raises DataFileError if the file is missing, changed or damaged, or a value is invalid; names file, row group
        and rows.
        """
        return self._chunks(False)

    def lazy_chunks(self) -> Iterator[Chunk]:
        """Read its rows as :class:`BatchRows` if possible, for a caller with its own output array."""
        return self._chunks(not self.reading.encoder.sparse and self.reading.encoder.n_features > 0)

    def _chunks(self, lazy: bool) -> Iterator[Chunk]:
        opened = self.file.open()
        try:
            batches = self._batches(opened)
            at, most = 0, _MOST_ROWS if lazy else _CHUNK_ROWS
            while True:
                with _read_errors(self.file, f"{self.name} (from row {at + 1:,} on)"):
                    batch = next(batches, None)
                if batch is None:
                    break
                for first in range(0, batch.num_rows, most):
                    part = batch.slice(first, most)
                    with error_location(self, at, at + part.num_rows):
                        chunk = self._chunk(part, at, lazy)
                    yield chunk
                    at += part.num_rows
        finally:
            opened.close(force=True)
        # a concurrent write may have mixed old and new rows
        self.file.check()

    def _batches(self, opened: Any) -> Iterator[Any]:
        most = int(np.clip(_DECODED_VALUES // max(len(self.reading.names), 1), _FEWEST_ROWS, _MOST_ROWS))
        # equal parts: a short last part takes as long as a full one
        rows = -(-self.n_rows // -(-self.n_rows // most))
        stored = [name for name in self.reading.names if name in self.file.types]
        if self.filter is None:
            settings = {"batch_size": rows, "row_groups": [self.number], "columns": stored, "use_threads": False}
            found = iter(opened.iter_batches(**settings))
        else:
            found = filtered(self.file, [self.number], self.reading.names, self.filter, rows)
        for batch in found:
            yield self._completed(batch)

    def _completed(self, batch: Any) -> Any:
        """Add the columns of the folder names, and cast to the common types."""
        stored = set(batch.schema.names)
        if not self.casts and all(name in stored for name in self.reading.names):
            return batch
        pa = arrow()
        columns = {}
        for name in self.reading.names:
            if name in stored:
                column = batch.column(name)
            else:
                column = pa.repeat(pa.scalar(self.file.partition[name]), batch.num_rows)
            columns[name] = column.cast(self.casts[name]) if name in self.casts else column
        # a batch without columns still has rows, which an empty dictionary would lose
        return pa.record_batch(columns) if columns else batch

    def _chunk(self, batch: Any, at: int, lazy: bool) -> Chunk:
        y, weight = targets_and_weights(batch, self.reading)
        return Chunk(BatchRows(batch, self, at) if lazy else self.reading.encoder.encode(batch), y, weight)


@dataclass(frozen=True)
class BatchRows(LazyRows):
    """Dense rows that are encoded on demand, into their destination; ``at`` is the piece's row index of the first one.

    Encoding into a temporary array plus a copy would take half as long again.
    """

    batch: ArrowBatch
    piece: RowGroup
    at: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.batch.num_rows, self.piece.reading.encoder.n_features

    def write(self, out: np.ndarray, begin: int, end: int) -> None:
        """Write rows ``begin`` to ``end - 1`` into ``out``; raise DataFileError for invalid values."""
        with error_location(self.piece, self.at + begin, self.at + end):
            self.piece.reading.encoder.encode(self.batch.slice(begin, end - begin), out=out)

    def __getitem__(self, rows: slice | np.ndarray) -> LazyRows | np.ndarray:
        if isinstance(rows, slice) and rows.step in (None, 1):
            begin, end, _ = rows.indices(self.batch.num_rows)
            return BatchRows(self.batch.slice(begin, end - begin), self.piece, self.at + begin)
        with error_location(self.piece, self.at, self.at + self.batch.num_rows):
            return self.piece.reading.encoder.encode(self.batch)[rows]


def filtered(file: ParquetFile, groups: list[int], columns: list[str], filter: Any, rows: int) -> Iterator[Any]:
    """Yield batches of the rows of some row groups that satisfy an Arrow expression."""
    import pyarrow.dataset as pads

    scanner = _fragment(file, groups).scanner(
        schema=arrow().schema([(name, file.type_of(name)) for name in {**file.types, **file.partition}]),
        columns=[name for name in columns if name in file.types],
        filter=filter,
        batch_size=rows,
        use_threads=False,
        batch_readahead=1,
        fragment_readahead=0,
        fragment_scan_options=pads.ParquetFragmentScanOptions(pre_buffer=is_address(file.path)),
    )
    return (batch for batch in scanner.to_batches() if batch.num_rows)


def _fragment(file: ParquetFile, groups: list[int]) -> Any:
    import pyarrow.dataset as pads
    from pyarrow import fs

    system, path = fs.LocalFileSystem(), file.path
    if is_address(file.path):
        opened, path = file_system(file.path, file.options)
        system = fs.PyFileSystem(fs.FSSpecHandler(opened))
    held = pads.scalar(True)
    for name, value in file.partition.items():
        held = held & (pads.field(name) == value)
    return pads.ParquetFileFormat().make_fragment(path, system, held, row_groups=groups)


def sentence(error: BaseException) -> str:
    """Format an error message as one line that ends with a period.

    >>> sentence(OSError("Couldn't read:\\nno header\\n"))
    "Couldn't read: no header."
    """
    return " ".join(str(error).split()).rstrip(".") + "."
