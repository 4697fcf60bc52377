"""CSV files: one scan finds row boundaries and counts rows; pyarrow then parses each span separately."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parsgd.data.columns.column_specs import listed
from parsgd.data.columns.numeric import arrow, kind_of_type
from parsgd.data.contracts import ArrowSchema, ArrowType, Chunk, Reading
from parsgd.data.formats.csv_layout import CsvLayout, layout_of, parsed_rows
from parsgd.data.formats.line_spans import SpanPiece, blocks_of_rows, read_span, spans
from parsgd.data.formats.paths import Address
from parsgd.data.formats.tables import CHUNK_ROWS, chunk_of
from parsgd.errors import DataFileError


@dataclass(frozen=True)
class CsvPiece(SpanPiece):
    """A span of a CSV file, or all of a compressed one."""

    layout: CsvLayout
    reading: Reading

    def chunks(self) -> Iterator[Chunk]:
        self.address.check(self.stamp)
        types, at, where = self._types(), 0, str(self.address)
        for block in read_span(self.address, self.span, self.layout.scanner(where)):
            table = parsed_rows(block, self.layout, types, where, self.span.first_row + at)
            for batch in table.to_batches(max_chunksize=CHUNK_ROWS):
                first = self.span.first_row + at
                yield chunk_of(batch, self.reading, where, first)
                at += batch.num_rows
        if at != self.n_rows:
            raise DataFileError(
                f"{self.name}: {at:,} rows were read, and {self.n_rows:,} were counted. Has the file changed, or do"
                " some of its lines end in another way than the others?"
            )

    def _types(self) -> dict[str, ArrowType]:
        """Return the columns to read, and their types.

        Integer columns are read as floats, since later rows may have fractions.
        """
        pa, reading = arrow(), self.reading
        texts, numbers = set(reading.encoder.texts), set(reading.encoder.numbers)
        types: dict[str, ArrowType] = {}
        for name in reading.names:
            kind = self.layout.types[name]
            if name in texts or (pa.types.is_null(kind) and name not in numbers and name != reading.weight):
                kind = pa.string()
            elif pa.types.is_integer(kind) or pa.types.is_null(kind) or (name in numbers and pa.types.is_string(kind)):
                kind = pa.float64()
            types[name] = kind
        if reading.target is not None and reading.encoder.labels == "text":
            types[reading.target] = pa.string()
        # without columns, one is read to count rows
        return types or {self.layout.names[0]: pa.string()}


def csv_schema(addresses: Sequence[Address], header: Any, decimal: str) -> tuple[ArrowSchema, list[CsvLayout]]:
    """Return ``(schema, layouts)`` of CSV files.

    The first file determines the columns; other files may have more columns, in another order. The type of a column is
    that of the first file with values of it in its first rows.
    """
    pa = arrow()
    layouts = [layout_of(address, header, decimal) for address in addresses]
    kinds: dict[str, ArrowType] = dict.fromkeys(layouts[0].names, pa.null())
    for address, layout in zip(addresses, layouts, strict=True):
        lacking = next((name for name in kinds if name not in layout.types), None)
        if lacking is not None:
            raise DataFileError(
                f"{address}: lacks the column {lacking!r} that {addresses[0]} has; it has {listed(layout.names)}."
            )
        kinds = {name: layout.types[name] if pa.types.is_null(kind) else kind for name, kind in kinds.items()}
    return pa.schema(list(kinds.items())), layouts


def csv_pieces(
    addresses: Sequence[Address], layouts: Sequence[CsvLayout], schema: ArrowSchema, reading: Reading
) -> list[CsvPiece]:
    """Make pieces of CSV files.

    Raises DataFileError if the types of a column differ between files.
    """
    pa = arrow()
    known, texts = dict(zip(schema.names, schema.types, strict=True)), set(reading.encoder.texts)
    pieces: list[CsvPiece] = []
    for address, layout in zip(addresses, layouts, strict=True):
        for name in reading.names:
            kind, wanted = layout.types[name], known[name]
            if name not in texts and _family(kind) not in (_family(wanted), "nothing"):
                raise DataFileError(
                    f"{address}: column {name!r} holds {kind}, and {wanted} in {addresses[0]}. Correct one of"
                    " them, or declare the column in columns= as OneHot, HashedCategories or Text."
                )
        types = {name: known.get(name, pa.string()) for name in layout.names}
        pieces += _pieces_of(address, replace(layout, types=types), reading)
    return pieces


def _family(kind: ArrowType) -> str:
    return "boolean" if arrow().types.is_boolean(kind) else kind_of_type(kind)


def _pieces_of(address: Address, layout: CsvLayout, reading: Reading) -> list[CsvPiece]:
    stamp = address.stamp()
    with address.open() as file:
        file.read(layout.begin)
        sizes = [(len(block), n_rows) for block, n_rows in blocks_of_rows(file, layout.scanner(str(address)))]
    found = spans(sizes, layout.begin, address.packed)
    return [CsvPiece(address, span, stamp, layout, reading) for span in found]
