"""Layout of CSV files: encoding, line ends, separator, header, and the types inferred from the first rows."""

from __future__ import annotations

import csv as csv_lines
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
# pyarrow's errors: a row of another length, and a value that is not of its column's type.
_WRONG_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
_BAD_VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+): .*?: invalid value '(.*)'", re.DOTALL)
_HEADER = "Use header=None (--no-header) if the file has no header, or header=True (--header) if it has one."


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
    types: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def scanner(self, name: str) -> RowScanner:
        """Make a scanner positioned at the first row."""
        return RowScanner(name, self.separator, self.newline, self.line)


def layout_of(address: Address, header: Any, decimal: str) -> CsvLayout:
    """Read the header, and the types of the first rows; ``header`` and ``decimal`` as in ``open_dataset``.

    Raises DataFileError if the file is empty, is not UTF-8, has no header where one is expected, or its first rows are
    not CSV.
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
    titled = header is True or header == "auto"
    begin = start + length if titled else start
    if titled:
        names = [name.strip() for name in fields]
    else:
        names = [f"f{i}" for i in range(len(fields))] if header is None else [str(name) for name in header]
        if len(names) != len(fields):
            raise DataFileError(f"{address}: has {len(fields):,} columns, and header= has {len(names):,} names.")
    line = 1 + head[:begin].count(newline)
    layout = CsvLayout(tuple(names), separator, newline, begin, line, decimal)
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    types = _types(address, layout) if not (twice and titled) else ()
    if header == "auto":
        notes += _check_header(address, names, types, bool(twice))
    if twice:
        raise DataFileError(f"{address}: two columns are called {twice[0]!r}; give each its own name. {_HEADER}")
    # columns without a name are ignored, but Arrow needs distinct names
    names = tuple(name or f"Unnamed: {i}" for i, name in enumerate(names))
    return replace(layout, names=names, types=dict(zip(names, types, strict=True)), notes=tuple(notes))


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
    """Infer the types of the columns from the first rows."""
    where, pa = str(address), arrow()
    with address.open() as file:
        file.read(layout.begin)
        sample, _ = next(blocks_of_rows(file, layout.scanner(where), SAMPLE_BYTES), (b"", 0))
    if not sample.strip():
        return (pa.null(),) * len(layout.names)
    # a header may name a column twice
    numbered = replace(layout, names=tuple(str(i) for i in range(len(layout.names))))
    return tuple(parsed_rows(sample, numbered, None, where, 0).schema.types)


def parsed_rows(block: bytes, layout: CsvLayout, types: dict[str, Any] | None, where: str, first_row: int) -> Any:
    """Parse the columns ``types`` of whole rows into an Arrow table; None: all columns, with inferred types.

    Raises DataFileError if a row has too few or too many values, or a value is not of the column's type; names file and
    row.
    """
    pa, block = arrow(), _unpadded(block, layout)
    try:
        table = _parsed(block, layout, types)
    except pa.ArrowException as error:
        raise _parse_error(error, block, layout, types or {}, where, first_row) from error
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise _parse_error(ValueError("binary data"), block, layout, {}, where, first_row)
    return table


def _parsed(block: bytes, layout: CsvLayout, types: dict[str, Any] | None) -> Any:
    from pyarrow import csv

    return csv.read_csv(
        arrow().BufferReader(block),
        csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=layout.names),
        csv.ParseOptions(delimiter=layout.separator, newlines_in_values=b'"' in block),
        csv.ConvertOptions(
            column_types=types,
            include_columns=None if types is None else list(types),
            null_values=MISSING_NUMBERS,
            strings_can_be_null=False,
            quoted_strings_can_be_null=True,
            decimal_point=layout.decimal,
        ),
    )


def _parse_error(
    error: Exception, block: bytes, layout: CsvLayout, types: dict[str, Any], where: str, first: int
) -> DataFileError:
    """Build the error with file, row and column of the first invalid value."""
    place = f"{where} (lines counted from row {first + 1:,})" if first else where
    wrong = not_utf8(place, block, 1 if first else layout.line, layout.newline)
    if wrong is not None:
        return wrong
    reason = " ".join(str(error).split()).rstrip(".")
    if row := _WRONG_ROW.search(str(error)):
        number, expected, actual = (int(count) for count in row.groups()[:3])
        return DataFileError(
            f"{where}, row {first + number:,}: expected {expected} columns, got {actual}: {row[4][:60]!r} has too"
            f" {'few' if actual < expected else 'many'} values. Write one for each column, divided by"
            f" {layout.separator!r}, and quote values that contain it."
        )
    # pyarrow stops at the first column with an invalid value; another one may have an earlier row
    pa, left = arrow(), dict(types)
    unfit: list[tuple[int, str, str]] = []
    string = pa.string()
    while (found := _BAD_VALUE.search(str(error))) and left.get(name := layout.names[int(found[1])], string) != string:
        unfit.append((int(found[2]), name, found[3]))
        left[name] = string
        try:
            _parsed(block, layout, left)
        except pa.ArrowException as following:
            error = following
    if unfit:
        row, name, text = min(unfit)
        kind = "numbers" if _is_numeric(pa, types[name]) else f"values of type {types[name]}"
        return DataFileError(f"{where}, row {first + row:,}: {bad_number(name, kind, text)}")
    return DataFileError(f"{where}, from row {first + 1:,} on: cannot be read as CSV: {reason}. Correct the file.")


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
