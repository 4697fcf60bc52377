"""CSV files: one scan finds where they can be cut and counts the rows; then pyarrow parses each span by itself."""

from __future__ import annotations

import csv as csv_lines
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parsgd.data.columns.arrow_values import kind_of_type
from parsgd.data.columns.column_specs import listed
from parsgd.data.columns.numeric import arrow
from parsgd.data.formats.line_spans import LineSpan, read_span, spans
from parsgd.data.formats.paths import Address
from parsgd.data.formats.tables import CHUNK_ROWS, chunk_of
from parsgd.data.sources.pieces import Chunk
from parsgd.errors import DataFileError

# What stands for a missing value.
_MISSING = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>"]
_SEPARATORS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
# Bytes that are parsed at a time.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class CsvLayout:
    """How a file is written: its columns, what divides them, where the rows begin, and what the first of them hold."""

    names: tuple[str, ...]
    separator: str
    begin: int
    types: tuple[Any, ...]


@dataclass(frozen=True)
class CsvPiece:
    """A span of a CSV file; of a packed one, all of it.  ``stamp`` shows whether the file has changed."""

    address: Address
    layout: CsvLayout
    span: LineSpan
    stamp: tuple
    encoder: Any
    target: str | None
    weight: str | None
    home: str | None = None

    @property
    def n_rows(self) -> int:
        return self.span.n_rows

    @property
    def name(self) -> str:
        if self.span.n_rows == 0:
            return str(self.address)
        first = self.span.first_row + 1
        return f"{self.address} (rows {first:,} to {first + self.n_rows - 1:,})"

    def chunks(self) -> Iterator[Chunk]:
        self.address.check(self.stamp)
        at = 0
        try:
            for batch in self._batches():
                for start in range(0, batch.num_rows, CHUNK_ROWS):
                    part = batch.slice(start, CHUNK_ROWS)
                    if at + part.num_rows <= self.n_rows:
                        first = self.span.first_row + at
                        yield chunk_of(part, self.encoder, self.target, self.weight, str(self.address), first)
                    at += part.num_rows
        except (arrow().ArrowInvalid, EOFError, OSError, UnicodeDecodeError) as error:
            raise DataFileError(self._explained(error, at)) from error
        if at != self.n_rows:
            raise DataFileError(
                f"{self.name}: {at:,} rows were read, and {self.n_rows:,} were counted. Has the file changed, or is a"
                " double quote missing in it?"
            )

    def _batches(self) -> Iterator[Any]:
        from pyarrow import csv

        if self.address.packed:
            file = self.address.open()
            file.read(self.layout.begin)
        else:
            file = io.BytesIO(read_span(self.address, self.span))
        with file:
            wanted = [n for n in (*self.encoder.columns, self.target, self.weight) if n is not None]
            types = _wanted_types(self.layout, self.encoder.texts)
            reader = csv.open_csv(
                file if isinstance(file, io.BytesIO) else _Readable(file),
                csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=list(self.layout.names)),
                csv.ParseOptions(delimiter=self.layout.separator, newlines_in_values=True),
                csv.ConvertOptions(
                    column_types=types, include_columns=list(dict.fromkeys(wanted)) or [self.layout.names[0]],
                    null_values=_MISSING, strings_can_be_null=True, quoted_strings_can_be_null=False,
                ),
            )  # fmt: skip
            with reader:
                yield from reader

    def _explained(self, error: Exception, at: int) -> str:
        """What pyarrow says, with the column's name, and the number of the row in the file."""
        said = str(error).splitlines()[0].rstrip(".")
        column = re.search(r"In CSV column #(\d+): ", said)
        if column:
            said = said.replace(column.group(), f"column {self.layout.names[int(column.group(1))]!r}: ")
        row = re.search(r"(CSV parse error: )?Row #(\d+): ", said)
        where = f"near row {self.span.first_row + at + 1:,}"
        if row:
            said = said.replace(row.group(), "")
            where = f"row {self.span.first_row + int(row.group(2)):,}"
        return (
            f"{self.address}, {where}: {said}. What a column holds is taken from the first rows of the first file;"
            " correct the file, or declare the column in columns= as OneHot, HashedCategories or Text."
        )


class _Readable(io.RawIOBase):
    """What pyarrow needs of a file that is unpacked while it is read."""

    def __init__(self, file: Any):
        self.file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


def _wanted_types(layout: CsvLayout, texts: Sequence[str]) -> dict[str, Any]:
    """Numbers are read as floats, since a whole number may be followed by one that is not."""
    pa = arrow()
    found = dict(zip(layout.names, layout.types, strict=True))
    wanted = {name: pa.float64() if pa.types.is_integer(kind) else kind for name, kind in found.items()}
    return wanted | dict.fromkeys(texts, pa.string())


def layout_of(address: Address) -> CsvLayout:
    """Read the header, and what kinds of values the first rows hold."""
    from pyarrow import csv

    pa = arrow()
    with address.open() as file:
        head = file.read(_BLOCK_BYTES)
    line, newline, rest = head.partition(b"\n")
    header = line.removeprefix(_BOM).decode("utf-8", errors="replace").strip("\r")
    if not header.strip():
        raise DataFileError(f"{address}: the file is empty; a header with the names of the columns was expected.")
    separator = max(_SEPARATORS, key=header.count)
    names = tuple(name.strip() for name in next(csv_lines.reader([header], delimiter=separator)))
    begin = len(line) + len(newline)
    # to the end of a line, unless the file is shorter
    sample = rest[: rest.rfind(b"\n") + 1] if len(head) == _BLOCK_BYTES else rest
    if not sample.strip():
        return CsvLayout(names, separator, begin, (pa.null(),) * len(names))
    try:
        table = csv.read_csv(
            io.BytesIO(sample),
            csv.ReadOptions(use_threads=False, column_names=list(names)),
            csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            csv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True, quoted_strings_can_be_null=False),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise DataFileError(f"{address}: cannot be read as CSV with columns {listed(names)}: {said}.") from error
    return CsvLayout(names, separator, begin, tuple(table.schema.types))


def csv_schema(addresses: Sequence[Address]) -> tuple[Any, list[CsvLayout]]:
    """``(schema, layouts)`` of CSV files.  The first file says which columns there are, and what they hold where it has
    values of them in its first rows; the others may have them in another order, and more of them."""
    pa = arrow()
    layouts = [layout_of(address) for address in addresses]
    names = layouts[0].names
    kinds: dict[str, Any] = {}
    for address, layout in zip(addresses, layouts, strict=True):
        lacking = [name for name in names if name not in layout.names]
        if lacking:
            raise DataFileError(
                f"{address}: lacks the column {lacking[0]!r} that {addresses[0]} has; it has {listed(layout.names)}."
            )
        for name, kind in zip(layout.names, layout.types, strict=True):
            if kind_of_type(kinds.get(name, pa.null())) == "nothing":
                kinds[name] = kind
    return pa.schema([pa.field(name, kinds[name]) for name in names]), layouts


def csv_pieces(
    addresses: Sequence[Address], layouts: Sequence[CsvLayout], schema: Any, read: Sequence[str], texts: Sequence[str]
) -> list[CsvPiece]:
    """The pieces of CSV files of which the columns ``read`` are read, ``texts`` as texts; their encoders are set later.

    Raises DataFileError if a column holds other things in another file.
    """
    pa = arrow()
    pieces = []
    for address, layout in zip(addresses, layouts, strict=True):
        kinds = dict(zip(layout.names, layout.types, strict=True))
        for name in read:
            wanted = schema.field(name).type
            if name not in texts and _family(kinds[name]) not in (_family(wanted), "nothing"):
                raise DataFileError(
                    f"{address}: column {name!r} holds {kinds[name]}, and {wanted} in {addresses[0]}. Correct one of"
                    " them, or declare the column in columns= as OneHot, HashedCategories or Text."
                )
        types = tuple(schema.field(n).type if n in schema.names else pa.string() for n in layout.names)
        pieces += _pieces_of(address, replace(layout, types=types))
    return pieces


def _family(kind: Any) -> str:
    return "boolean" if arrow().types.is_boolean(kind) else kind_of_type(kind)


def _pieces_of(address: Address, layout: CsvLayout) -> list[CsvPiece]:
    stamp = address.stamp()
    with address.open() as file:
        file.read(layout.begin)
        found = spans(file, layout.begin, quoted=True)
    if address.packed and found:
        found = [LineSpan(layout.begin, 0, sum(span.n_rows for span in found), 0)]
    return [CsvPiece(address, layout, span, stamp, None, None, None) for span in found]
