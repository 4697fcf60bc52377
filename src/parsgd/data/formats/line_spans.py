"""Spans of whole rows of text files: their offsets and row counts.

One scan finds the spans, in time linear in the file size. A double quote opens a quoted field only at the beginning of
a field; anywhere else outside quotes it is an ordinary character. Within a quoted field ``""`` is an escaped quote, and
line ends are part of the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from parsgd.data.contracts import BasePiece
from parsgd.data.formats.paths import Address, Stamp
from parsgd.errors import DataFileError

# Bytes of a span: large enough to amortize a call, and small enough to hold several in memory.
SPAN_BYTES = 8 << 20
# Bytes of a compressed file per parser call.
_BLOCK_BYTES = 4 << 20
_NEWLINE, _RETURN, _QUOTE, _SPACE = 10, 13, 34, 32
# The rest of a quoted field, its closing quote included.
_QUOTED = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


class LineSpan(NamedTuple):
    """``length`` bytes from ``offset`` on: whole lines, of which ``n_rows`` are not empty, after ``first_row`` rows."""

    offset: int
    length: int
    n_rows: int
    first_row: int


class RowScanner:
    """A scanner that finds the ends of rows in consecutive blocks of a file.

    ``separator`` divides fields; None: the format has no quotes. ``newline`` ends a row. ``name`` and ``line``, the
    number of the first line, locate errors.
    """

    def __init__(self, name: str, separator: str | None, newline: int = _NEWLINE, line: int = 1):
        self.name: str = name
        self.quoted: bool = separator is not None
        self.newline: int = newline
        self.line: int = line
        self.separator: int = ord(separator or ",")
        # inside: within a quoted field; opened: the line where it began; begins: a field begins here
        self.inside: bool = False
        self.opened: int = line
        self.begins: bool = True
        # length and first byte of the row left open by the last block
        self.length: int = 0
        self.first: int = 0

    def feed(self, block: bytes) -> tuple[int, int]:
        """Return ``(end, n_rows)``: the end of the last row that ends in the block, or 0, and the number of such rows.

        Raises DataFileError if text follows a closing quote.
        """
        values = np.frombuffer(block, dtype=np.uint8)
        newlines = np.flatnonzero(values == self.newline)
        ends = self._outside(block, values, newlines) if self.quoted else newlines
        self.line += len(newlines)
        if not len(ends):
            if self.length == 0 and len(values):
                self.first = values[0]
            self.length += len(values)
            return 0, 0
        begins = np.concatenate([[0], ends[:-1] + 1])
        lengths, first = ends - begins, values[begins]
        if self.length:
            lengths[0] += self.length
            first[0] = self.first
        last = int(ends[-1]) + 1
        self.length, self.first = len(values) - last, values[last] if last < len(values) else 0
        return last, self._count(lengths, first)

    def finish(self) -> int:
        """Return the number of rows, 0 or 1, that the end of the file ends.

        Raises DataFileError within a quoted field.
        """
        if self.inside:
            raise DataFileError(
                f"{self.name}, line {self.opened:,}: the quoted field that begins here has no closing quote. Close it,"
                ' or write a quote at the beginning of a value as """".'
            )
        return self._count(np.array([self.length]), np.array([self.first])) if self.length else 0

    def _count(self, lengths: np.ndarray, first: np.ndarray) -> int:
        return int(np.count_nonzero((lengths > 1) | ((lengths == 1) & (first != _RETURN))))

    def _outside(self, block: bytes, values: np.ndarray, newlines: np.ndarray) -> np.ndarray:
        """Select the newlines outside quotes."""
        if not self.inside and b'"' not in block:
            self.begins = self._begins_after(block)
            return newlines
        quotes = np.flatnonzero(values == _QUOTE)
        if self._well_formed(values, quotes):
            inside = (np.searchsorted(quotes, newlines) + self.inside) % 2 == 1
            was, self.inside = self.inside, bool((len(quotes) + self.inside) % 2)
            if self.inside and (len(quotes) or not was):
                self.opened = self.line + int(np.searchsorted(newlines, quotes[-1]))
        else:
            fields = np.array([(-1, -1), *self._quoted_fields(block, newlines)])
            inside = newlines < fields[np.searchsorted(fields[:, 0], newlines, side="right") - 1, 1]
        self.begins = not self.inside and self._begins_after(block)
        return newlines[~inside]

    def _begins_after(self, block: bytes) -> bool:
        last = block.rstrip(b" ")[-1:]
        return last[0] in (self.separator, self.newline, _RETURN) if last else self.begins

    def _well_formed(self, values: np.ndarray, quotes: np.ndarray) -> bool:
        """Return True if every quote opens a field, closes one, or belongs to a pair, so that parity distinguishes
        them.
        """
        opening, closing = quotes[int(self.inside) :: 2], quotes[1 - int(self.inside) :: 2]
        before = values[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self.newline if self.begins else 0
        after = values[np.minimum(closing + 1, len(values) - 1)]
        if len(closing) and closing[-1] == len(values) - 1:
            after[-1] = self.newline
        return self._all_among(before, _QUOTE) and self._all_among(after, _QUOTE)

    def _all_among(self, values: np.ndarray, more: int) -> bool:
        found = (values == self.separator) | (values == self.newline) | (values == more) | (values == _RETURN)
        return bool(found.all())

    def _quoted_fields(self, block: bytes, newlines: np.ndarray) -> list[tuple[int, int]]:
        """Return ``(begin, end)`` of the quoted fields, in order."""
        ends = re.escape(bytes((self.separator, self.newline, _RETURN)))
        opening = re.compile(rb"(?:(?<=[" + ends + rb"])" + (rb"|\A" if self.begins else rb"") + rb') *+"')
        fields: list[tuple[int, int]] = []
        at = 0
        if self.inside:
            at = self._close(block, 0, newlines)
            fields.append((0, at))
        while found := opening.search(block, at):
            begin = found.end() - 1
            self.opened = self.line + int(np.searchsorted(newlines, begin))
            at = self._close(block, begin + 1, newlines)
            fields.append((begin, at))
        return fields

    def _close(self, block: bytes, begin: int, newlines: np.ndarray) -> int:
        """Find the end of the quoted field with content from ``begin`` on."""
        closed = _QUOTED.match(block, begin)
        self.inside = closed is None
        if closed is None:
            return len(block)
        at = closed.end()
        while at < len(block) and block[at] == _SPACE:
            at += 1
        if at < len(block) and block[at] not in (self.separator, self.newline, _RETURN):
            line = self.line + int(np.searchsorted(newlines, at))
            rest = block[at : at + 20].decode("utf-8", "replace").splitlines()[0]
            raise DataFileError(
                f"{self.name}, line {line:,}: {rest!r} follows a closing quote, where {chr(self.separator)!r} or the"
                f" end of the row was expected. The quoted field began in line {self.opened:,}. Write a quote within"
                ' quotes as "", or leave out a quote at the beginning of a value.'
            )
        return closed.end()


@dataclass(frozen=True)
class SpanPiece(BasePiece):
    """A span of a text file, or all of a compressed one; ``stamp`` detects changes of the file."""

    address: Address
    span: LineSpan
    stamp: Stamp

    @property
    def n_rows(self) -> int:
        return self.span.n_rows

    @property
    def name(self) -> str:
        if self.n_rows == 0:
            return str(self.address)
        return f"{self.address} (rows {self.rows_before + 1:,} to {self.rows_before + self.n_rows:,})"

    @property
    def where(self) -> str:
        return str(self.address)

    @property
    def rows_before(self) -> int:
        return self.span.first_row


def read_span(address: Address, span: LineSpan, scanner: RowScanner) -> Iterator[bytes]:
    """Yield whole rows of a span: all at once, or a few megabytes at a time of a compressed file, which is one span."""
    with address.open() as file:
        if not address.packed:
            file.seek(span.offset)
            yield file.read(span.length)
            return
        file.read(span.offset)
        yield from (block for block, n_rows in blocks_of_rows(file, scanner, _BLOCK_BYTES) if n_rows)


def blocks_of_rows(file: BinaryIO, scanner: RowScanner, size: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Yield ``(block, n_rows)`` of a file, in blocks of about ``size`` bytes that end with a row."""
    size = SPAN_BYTES if size is None else size
    held: list[bytes] = []
    while read := file.read(size):
        # do not split a pair of quotes between blocks
        while scanner.quoted and read.endswith(b'"') and (more := file.read(1)):
            read += more
        end, n_rows = scanner.feed(read)
        if end:
            yield b"".join([*held, read[:end]]), n_rows
            held = []
        if end < len(read):
            held.append(read[end:])
    n_rows = scanner.finish()
    if held:
        yield b"".join(held), n_rows


def spans(sizes: Iterable[tuple[int, int]], begin: int, packed: bool) -> list[LineSpan]:
    """Make the spans of blocks of ``(length, n_rows)`` from byte ``begin`` on; a compressed file is one span."""
    found, offset, rows = [], begin, 0
    for length, n_rows in sizes:
        found.append(LineSpan(offset, length, n_rows, rows))
        offset, rows = offset + length, rows + n_rows
    return [LineSpan(begin, 0, rows, 0)] if packed and found else found
