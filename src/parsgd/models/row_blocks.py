"""Row-by-row computations on large inputs: blocks of rows on several threads."""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable

import numpy as np

from parsgd.utils import blas_threads
from parsgd.utils.background import Background

# Stored values of a block: 3 to 6 ms of work; the overhead of a block is 0.1 to 0.5 ms.
_BLOCK_VALUES = 1 << 21


def blocks_of(n_rows: int, block_rows: int) -> list[slice]:
    """Divide rows into blocks of ``block_rows``; the last block also contains the remaining rows.

    >>> blocks_of(7, 3)
    [slice(0, 3, None), slice(3, 7, None)]
    """
    n_blocks = max(n_rows // block_rows, 1)
    begins = range(0, n_blocks * block_rows, block_rows)
    return [slice(begin, begin + block_rows) for begin in begins[:-1]] + [slice(begins[-1], n_rows)]


def rows_per_block(row_values: float, unit: int) -> int:
    """Return a multiple of ``unit`` rows whose work, of ``row_values`` stored values each, takes 3 to 6 ms.

    >>> rows_per_block(54, 1536)
    38400
    """
    return unit * max(1, round(_BLOCK_VALUES / (unit * row_values)))


def in_row_blocks(
    compute: Callable[[slice], np.ndarray], n_rows: int, block_rows: int, n_threads: int = 1
) -> np.ndarray:
    """Compute one value or row of values per row, in blocks of rows on up to ``n_threads`` threads.

    ``compute(rows)`` returns an array ``(n_rows of the block, ...)``, and must be safe to call from several threads.
    The blocks do not depend on the number of threads, and the BLAS has one thread, so the result has the same bits for
    any number of threads. A single block is computed in the calling thread with the BLAS as it is. An exception in a
    block, or Ctrl-C, ends all threads; of several exceptions that of the first block is raised.

    >>> rows = np.arange(7.0)
    >>> in_row_blocks(lambda part: 2 * rows[part], 7, 3, n_threads=2)
    array([ 0.,  2.,  4.,  6.,  8., 10., 12.])
    """
    blocks = blocks_of(n_rows, block_rows)
    if len(blocks) == 1:
        return compute(blocks[0])
    with blas_threads.one_thread():
        return _Blocks(compute, blocks, n_rows).result(min(n_threads, len(blocks)))


class _Blocks:
    """Blocks that are being computed, and their results."""

    def __init__(self, compute: Callable[[slice], np.ndarray], blocks: list[slice], n_rows: int):
        self.compute = compute
        self.blocks = blocks
        self.n_rows = n_rows
        # the next block; a call of next is atomic
        self.numbers: itertools.count[int] = itertools.count()
        self.lock = threading.Lock()
        self.out: np.ndarray | None = None
        self.errors: dict[int, BaseException] = {}
        self.stopped: bool = False

    def result(self, n_threads: int) -> np.ndarray:
        """Compute all blocks, with the calling thread as one of ``n_threads``."""
        helpers = Background(n_threads - 1, "parsgd-rows")
        try:
            for _ in range(n_threads - 1):
                # NumPy's error settings belong to the context
                helpers.run(contextvars.copy_context().run, self.work)
            self.work()
        finally:
            self.stopped = True
            self._end(helpers)
        if self.errors:
            raise self.errors.pop(min(self.errors))
        assert self.out is not None
        return self.out

    def _end(self, helpers: Background) -> None:
        try:
            helpers.close()
        except BaseException:
            # Ctrl-C while waiting: the threads end after their current block
            helpers.close()
            raise

    def work(self) -> None:
        """Compute blocks until none is left, or one has failed."""
        while not self.stopped and (number := next(self.numbers)) < len(self.blocks):
            rows = self.blocks[number]
            try:
                value = self.compute(rows)
                with self.lock:
                    if self.out is None:
                        self.out = np.empty((self.n_rows, *value.shape[1:]), dtype=value.dtype)
                self.out[rows] = value
            except BaseException as error:
                self.errors[number] = error
                self.stopped = True
