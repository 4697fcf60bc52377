"""Files of lines, cut into spans that can be read each by itself: where they begin, and how many rows they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from parsgd.data.formats.paths import Address

# Bytes of a span: enough to be worth a call, and few enough that several of them are held at once.
SPAN_BYTES = 8 << 20
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


class LineSpan(NamedTuple):
    """``length`` bytes from ``offset`` on, whole lines, ``n_rows`` of them not empty; rows before it: ``first_row``."""

    offset: int
    length: int
    n_rows: int
    first_row: int


def read_span(address: Address, span: LineSpan) -> bytes:
    """The bytes of a span of a file that is not packed."""
    with address.open() as file:
        file.seek(span.offset)
        return file.read(span.length)


def blocks_of_lines(file: BinaryIO, quoted: bool, size: int | None = None) -> Iterator[bytes]:
    """What a file holds, in blocks of about ``size`` bytes that end with a line; ``quoted``: a newline within double
    quotes ends none."""
    size = SPAN_BYTES if size is None else size
    held = b""
    while True:
        read = file.read(size)
        held += read
        if not read:
            if held:
                yield held
            return
        end = _last_end(held, quoted)
        if end:
            yield held[:end]
            held = held[end:]


def _last_end(block: bytes, quoted: bool) -> int:
    """Where the last whole line of a block that begins with a line ends, or 0."""
    if not quoted or b'"' not in block:
        return block.rfind(b"\n") + 1
    ends = _ends(np.frombuffer(block, dtype=np.uint8), quoted)
    return int(ends[-1]) + 1 if len(ends) else 0


def _ends(block: np.ndarray, quoted: bool) -> np.ndarray:
    """Places of the newlines that end a line.  A quote within quotes is written twice, so counting them is enough."""
    ends = np.flatnonzero(block == _NEWLINE)
    if quoted:
        quotes = np.flatnonzero(block == _QUOTE)
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return ends


def count_rows(block: bytes, quoted: bool, comment: bytes = b"") -> int:
    """Lines of a block that are neither empty nor begin with ``comment``.

    >>> count_rows(b'a,b\\r\\n\\r\\n"c\\nd",e', quoted=True)
    2
    """
    values = np.frombuffer(block, dtype=np.uint8)
    if not values.size:
        return 0
    ends = _ends(values, quoted)
    if values[-1] != _NEWLINE:
        ends = np.append(ends, values.size)
    begins = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - begins
    begins = begins[lengths > 0]
    first, lengths = values[begins], lengths[lengths > 0]
    rows = ~((lengths == 1) & (first == _RETURN))
    if comment:
        rows &= first != comment[0]
    return int(rows.sum())


def spans(file: Any, begin: int, quoted: bool, comment: bytes = b"") -> list[LineSpan]:
    """The spans of a file that is open at ``begin``, found in one pass."""
    found, offset, rows = [], begin, 0
    for block in blocks_of_lines(file, quoted):
        n_rows = count_rows(block, quoted, comment)
        found.append(LineSpan(offset, len(block), n_rows, rows))
        offset, rows = offset + len(block), rows + n_rows
    return found
