"""Layout of CSV files: encoding, line ends, separator, header, and the types inferred from the first rows."""

from __future__ import annotations

import contextlib
import csv as csv_lines
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import MISSING_NUMBERS, bad_number
from parsgd.data.columns.column_specs import listed
from parsgd.data.columns.numeric import arrow
from parsgd.data.formats.line_spans import RowScanner, blocks_of_rows
from parsgd.data.formats.paths import Address
from parsgd.errors import DataFileError

_SEPARATORS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Approximate size of the sample of first rows for type inference, in bytes.
SAMPLE_BYTES = 1 << 20
_BLANK_LINES = re.compile(rb"(?:[ ]*(?:\r\n|\n|\r))*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_HEADER = "Use header=None (--no-header) if the file has no header, or header=True (--header) if it has one."


@dataclass(frozen=True)
class CsvOptions:
    """CSV options of the user.

    ``header`` is ``"auto"``, True, None for files without a header, or column names for such files. ``decimal`` is the
    decimal point.
    """

    header: Any = "auto"
    decimal: str = "."


@dataclass(frozen=True)
class CsvLayout:
    """The layout of a file: columns and their Arrow types, separator, byte that ends a row, decimal point.

    Rows begin at byte ``begin``, in line ``line``.  ``notes`` are remarks for the user.
    """

    names: tuple[str, ...]
    separator: str
    newline: int
    begin: int
    line: int
    decimal: str
    types: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    def scanner(self, name: str) -> RowScanner:
        """Make a scanner positioned at the first row."""
        return RowScanner(name, self.separator, self.newline, self.line)


def layout_of(address: Address, options: CsvOptions) -> CsvLayout:
    """Read the header, and the types of the first rows.

    Raises
    ------
    DataFileError
        If the file is empty, is not UTF-8, has no header where one is expected, or its first rows are not CSV.
    """
    with address.open() as file:
        head = file.read(SAMPLE_BYTES)
    _check_encoding(address, head)
    start = len(_BOM) if head.startswith(_BOM) else 0
    start = _BLANK_LINES.match(head, start).end()
    if not head[start:].strip():
        raise DataFileError(f"{address}: the file is empty; a header with the names of the columns was expected.")
    newline = 13 if b"\n" not in head and b"\r" in head else 10
    separator, fields, length = _first_row(address, head[start:])
    notes = [] if separator == "," else [f"columns are separated by {separator!r}"]
    titled = options.header is True or options.header == "auto"
    begin = start + length if titled else start
    line = 1 + head[:begin].count(newline)
    if titled:
        names = [name.strip() for name in fields]
    else:
        names = [f"f{i}" for i in range(len(fields))] if options.header is None else [str(n) for n in options.header]
        if len(names) != len(fields):
            raise DataFileError(f"{address}: has {len(fields):,} columns, and header= has {len(names):,} names.")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    layout = CsvLayout(tuple(names), separator, newline, begin, line, options.decimal)
    types = _types(address, layout) if not (twice and titled) else ()
    if options.header == "auto":
        notes += _check_header(address, names, types, bool(twice))
    if twice:
        raise DataFileError(f"{address}: two columns are called {twice[0]!r}; give each its own name. {_HEADER}")
    # columns without a name are ignored, but Arrow needs distinct names
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    return CsvLayout(tuple(names), separator, newline, begin, line, options.decimal, types, tuple(notes))


def _check_encoding(address: Address, head: bytes) -> None:
    if head.startswith(_UTF16) or b"\0" in head[:4096]:
        raise DataFileError(
            f"{address}: is not UTF-8 text, but UTF-16 or binary data. Convert text to UTF-8:"
            " iconv -f UTF-16 -t UTF-8 FILE > NEW."
        )


def not_utf8(where: str, block: bytes, line: int, newline: int = 10) -> DataFileError | None:
    """Build the error for bytes that are not UTF-8; None if all are."""
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        line += block[: error.start].count(newline)
        around = block[max(error.start - 10, 0) : error.end + 10].decode("latin-1")
        return DataFileError(
            f"{where}, line {line:,}: byte 0x{block[error.start]:02x} in {around!r} is not utf-8. If the file is"
            " Latin-1 (Windows-1252), convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW."
        )
    return None


def _first_row(address: Address, head: bytes) -> tuple[str, list[str], int]:
    """Return the separator, the fields of the first row, and its length in bytes."""
    found = []
    for separator in _SEPARATORS:
        # Latin-1 has a character for each byte
        text = io.StringIO(head.decode("latin-1"), newline="")
        reader = csv_lines.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
        try:
            found.append((separator, next(reader), text.tell()))
        except (csv_lines.Error, StopIteration):
            continue
    if not found:
        raise DataFileError(f"{address}: the header cannot be read; is a double quote missing in it?")
    separator, fields, length = max(found, key=lambda one: len(one[1]))
    wrong = not_utf8(str(address), head[:length], 1)
    if wrong is not None:
        raise wrong
    return separator, [field.encode("latin-1").decode("utf-8") for field in fields], length


def _check_header(address: Address, names: Sequence[str], types: Sequence[Any], twice: bool) -> list[str]:
    """Refuse a first row that looks like data; return notes on one that may be."""
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    if not numbers:
        return []
    pa = arrow()
    counted = len(names) > 2 and list(names) == [str(i) for i in range(len(names))]
    # a word above a numeric column is a name
    evident = any(
        name and not _NUMBER.fullmatch(name) and name not in MISSING_NUMBERS and _is_numeric(pa, kind)
        for name, kind in zip(names, types, strict=False)
    )
    if twice or not (evident or counted):
        raise DataFileError(
            f"{address}: the first row looks like data, not like names of columns: it has {numbers[0]!r}"
            f"{' twice' * twice}. {_HEADER}"
        )
    return [f"the header has numbers ({listed(numbers, 3)}) as names; if it is data, use header=None (--no-header)"]


def _is_numeric(pa: Any, kind: Any) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _types(address: Address, layout: CsvLayout) -> tuple[Any, ...]:
    pa = arrow()
    with address.open() as file:
        file.read(layout.begin)
        parts, size = [], 0
        for block, _ in blocks_of_rows(file, layout.scanner(str(address)), SAMPLE_BYTES):
            parts.append(block)
            size += len(block)
            if size >= SAMPLE_BYTES // 2:
                break
    sample = b"".join(parts)
    if not sample.strip():
        return (pa.null(),) * len(layout.names)
    places = [str(i) for i in range(len(layout.names))]
    likely = _likely_numbers(sample, layout)
    try:
        return tuple(parsed_rows(sample, layout, None, places, str(address), 0, likely).schema.types)
    except DataFileError:
        return tuple(parsed_rows(sample, layout, None, places, str(address), 0).schema.types)


def _likely_numbers(sample: bytes, layout: CsvLayout) -> dict[str, Any]:
    """Guess the numeric columns from the first rows, to save pyarrow's inference for these."""
    text = io.StringIO(sample[: 1 << 20].decode("latin-1"), newline="")
    reader = csv_lines.reader(text, delimiter=layout.separator, skipinitialspace=True)
    try:
        rows = [row for row in itertools.islice(reader, 3) if len(row) == len(layout.names)]
    except csv_lines.Error:
        return {}
    number = arrow().float64()
    columns = enumerate(zip(*rows, strict=True))
    return {str(i): number for i, values in columns if all(_NUMBER.fullmatch(value) for value in values)}


def parsed_rows(
    block: bytes,
    layout: CsvLayout,
    types: dict[str, Any] | None,
    names: Sequence[str],
    where: str,
    first_row: int,
    likely: dict[str, Any] | None = None,
) -> Any:
    """Parse the columns ``types`` of whole rows into an Arrow table; None: all of ``names``, with inferred types.

    ``likely`` holds guessed types of some columns.

    Raises
    ------
    DataFileError
        If a row has too few or too many values, or a value is not of the column's type; names file and row.
    """
    from pyarrow import csv

    pa = arrow()
    block = _unpadded(block, layout)
    how = csv.ConvertOptions(
        column_types=likely if types is None else types,
        include_columns=None if types is None else list(types),
        null_values=MISSING_NUMBERS,
        strings_can_be_null=False,
        quoted_strings_can_be_null=True,
        decimal_point=layout.decimal,
    )

    def parse(handler: Any = None) -> Any:
        return csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(names)),
            csv.ParseOptions(delimiter=layout.separator, newlines_in_values=b'"' in block, invalid_row_handler=handler),
            how,
        )

    try:
        table = parse()
    except pa.ArrowException as error:
        raise _parse_error(error, parse, block, layout, types or {}, names, where, first_row) from error
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise _parse_error(ValueError("binary data"), parse, block, layout, {}, names, where, first_row)
    return table


def _row_error(where: str, row: Any, first_row: int, layout: CsvLayout) -> str:
    number = f"row {first_row + row.number:,}" if row.number is not None else f"near row {first_row + 1:,}"
    start = str(row.text)[:60]
    more = "few" if row.actual_columns < row.expected_columns else "many"
    return (
        f"{where}, {number}: expected {row.expected_columns} columns, got {row.actual_columns}: {start!r} has too"
        f" {more} values. Write one for each column, divided by {layout.separator!r}, and quote values that contain it."
    )


def _parse_error(
    error: Exception,
    parse: Any,
    block: bytes,
    layout: CsvLayout,
    types: dict[str, Any],
    names: Sequence[str],
    where: str,
    first: int,
) -> DataFileError:
    """Build the error with file, row and column of the first invalid value."""
    place = f"{where} (lines counted from row {first + 1:,})" if first else where
    wrong = not_utf8(place, block, 1 if first else layout.line, layout.newline)
    if wrong is not None:
        return wrong
    rows: list[Any] = []
    with contextlib.suppress(arrow().ArrowException):
        parse(lambda row: rows.append(row) or "error")
    if rows:
        return DataFileError(_row_error(where, rows[0], first, layout))
    pa = arrow()
    others = {name: kind for name, kind in types.items() if not pa.types.is_string(kind)}
    texts = parsed_rows(block, layout, dict.fromkeys(others, pa.string()), names, where, first) if others else None
    unfit = [
        (row, name, text)
        for name, kind in others.items()
        for row, text in itertools.islice(_unfit(texts.column(name), kind, layout), 1)
    ]
    if unfit:
        row, name, text = min(unfit)
        kind = "numbers" if _is_numeric(pa, others[name]) else f"values of type {others[name]}"
        return DataFileError(f"{where}, row {first + row + 1:,}: {bad_number(name, kind, text)}")
    reason = " ".join(str(error).split()).rstrip(".")
    return DataFileError(f"{where}, from row {first + 1:,} on: cannot be read as CSV: {reason}. Correct the file.")


def _unfit(column: Any, kind: Any, layout: CsvLayout) -> Any:
    """Yield ``(row, text)`` of the texts that cannot be converted to a type."""
    from pyarrow import csv

    pa = arrow()
    number = _is_numeric(pa, kind)
    for row, text in enumerate(column.to_pylist()):
        if text in MISSING_NUMBERS:
            continue
        if number:
            try:
                float(text.replace(layout.decimal, "."))
                continue
            except ValueError:
                yield row, text
        else:
            try:
                one = '"' + text.replace('"', '""') + '"\n'
                csv.read_csv(
                    pa.BufferReader(one.encode()),
                    csv.ReadOptions(use_threads=False, column_names=["x"]),
                    convert_options=csv.ConvertOptions(column_types={"x": kind}),
                )
            except pa.ArrowInvalid:
                yield row, text


def _unpadded(block: bytes, layout: CsvLayout) -> bytes:
    """Strip spaces before values, except within quotes."""
    if block.startswith(b" "):
        block = block.lstrip(b" ")
    if b" " not in block:
        return block
    separator, values = layout.separator.encode(), np.frombuffer(block, dtype=np.uint8)
    spaces = np.flatnonzero(values == 32)
    before = values[spaces - 1]
    padded = spaces[(before == ord(separator)) | (before == layout.newline)] - 1
    if not len(padded):
        return block
    if b'"' not in block:
        while separator + b" " in block:
            block = block.replace(separator + b" ", separator)
        return re.sub(rb"([\n\r]) ++(?=[^ \r\n])", rb"\1", block)
    # in a value such as "one, two" the number of quotes before the separator is odd
    if (np.searchsorted(np.flatnonzero(values == 34), padded) % 2 == 0).any():
        mark = re.escape(separator)
        return re.sub(rb"(" + mark + rb'|[\n\r]) *+("[^"]*+(?:""[^"]*+)*+")?', rb"\1\2", block)
    return block
