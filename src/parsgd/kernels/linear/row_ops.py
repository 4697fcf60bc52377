"""Operations of SGD on one row: products, updates, norms, prefetch.  One implementation serves dense and CSR rows.

A dense matrix is treated as a CSR matrix with implicit feature numbers.  In both layouts a row is a range of positions
in ``data``.  They differ in :func:`get_span` (the range of a row) and :func:`get_feature` (the feature at a position).
Positions and features are unsigned everywhere: for signed ones Numba adds code for Python's negative indices, which
doubled the time of a sparse row.

The weights of one output are padded with zeros to whole vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numba.extending import overload

from parsgd.kernels.lowlevel.compiling import INLINE, inlined
from parsgd.kernels.lowlevel.extremes import larger
from parsgd.kernels.lowlevel.intrinsics import dense_add, dense_add_with_norms, dense_dot, prefetch, sparse_dot

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows

U = np.uint64
_LINE_BYTES = 64


def get_span(x: DenseRows | CsrRows, row: int) -> tuple[int, int]:
    """Return ``(begin, end)``, the range of positions of ``row``."""
    raise NotImplementedError("only inside compiled code")


def get_feature(x: DenseRows | CsrRows, position: int, begin: int) -> int:
    """Return the feature at ``position``, in a row that begins at ``begin``."""
    raise NotImplementedError("only inside compiled code")


def is_csr(x: types.NamedTuple) -> bool:
    return "indices" in x.fields


@overload(get_span, jit_options=INLINE)
def _get_span(x, row):
    if is_csr(x):
        return lambda x, row: (U(x.indptr[U(row)]), U(x.indptr[U(row) + U(1)]))
    return lambda x, row: (U(row) * U(x.n_features), (U(row) + U(1)) * U(x.n_features))


@overload(get_feature, jit_options=INLINE)
def _get_feature(x, position, begin):
    if not is_csr(x):
        return lambda x, position, begin: position - begin
    if x.types[1].dtype == types.int32:
        return lambda x, position, begin: U(np.uint32(x.indices[position]))
    return lambda x, position, begin: U(x.indices[position])


def prefetch_row(x: DenseRows | CsrRows, row: int) -> None:
    """Prefetch the values and indices of a row."""
    raise NotImplementedError("only inside compiled code")


@overload(prefetch_row, jit_options=INLINE)
def _prefetch_row(x, row):
    width = x.types[0].dtype.bitwidth // 8
    stride = U(_LINE_BYTES // width)
    if not is_csr(x):

        def implementation(x, row):
            begin, end = get_span(x, row)
            for position in range(begin, end, stride):
                prefetch(x.data, position)
            # rows are rarely aligned to cache lines, so the last line is one more
            prefetch(x.data, end - U(1))

        return implementation

    index_stride = U(_LINE_BYTES // (x.types[1].dtype.bitwidth // 8))

    def implementation(x, row):
        begin, end = get_span(x, row)
        for position in range(begin, end, stride):
            prefetch(x.data, position)
        for position in range(begin, end, index_stride):
            prefetch(x.indices, position)
        if begin < end:
            prefetch(x.data, end - U(1))
            prefetch(x.indices, end - U(1))

    return implementation


def prefetch_row_pointers(x: DenseRows | CsrRows, row: int) -> None:
    """Prefetch the CSR pointers of a row."""
    raise NotImplementedError("only inside compiled code")


@overload(prefetch_row_pointers, jit_options=INLINE)
def _prefetch_row_pointers(x, row):
    if is_csr(x):
        return lambda x, row: prefetch(x.indptr, U(row))
    return lambda x, row: None


def dot(x: DenseRows | CsrRows, row: int, w: np.ndarray) -> float:
    """Return the product of a row and the weights of one output."""
    raise NotImplementedError("only inside compiled code")


def add(x: DenseRows | CsrRows, row: int, step: float, w: np.ndarray) -> None:
    """Add ``step * row`` to ``w``."""
    raise NotImplementedError("only inside compiled code")


def add_with_norms(x: DenseRows | CsrRows, row: int, step: float, w: np.ndarray) -> tuple[float, float]:
    """Add ``step * row`` to ``w``; returns the sums of squares and absolute values of the touched weights."""
    raise NotImplementedError("only inside compiled code")


@overload(dot, jit_options=INLINE)
def _dot(x, row, w):
    if not is_csr(x):

        def implementation(x, row, w):
            begin, end = get_span(x, row)
            return dense_dot(x.data, begin, end - begin, x.data.dtype.type(0), w)

        return implementation

    def implementation(x, row, w):
        begin, end = get_span(x, row)
        return sparse_dot(x.data, x.indices, begin, end, w)

    return implementation


@overload(add, jit_options=INLINE)
def _add(x, row, step, w):
    if not is_csr(x):

        def implementation(x, row, step, w):
            begin, end = get_span(x, row)
            dense_add(x.data, begin, end - begin, x.data.dtype.type(step), w)

        return implementation

    def implementation(x, row, step, w):
        begin, end = get_span(x, row)
        c = x.data.dtype.type(step)
        for position in range(begin, end):
            w[get_feature(x, position, begin)] += c * x.data[position]

    return implementation


@overload(add_with_norms, jit_options=INLINE)
def _add_with_norms(x, row, step, w):
    if not is_csr(x):

        def implementation(x, row, step, w):
            begin, end = get_span(x, row)
            return dense_add_with_norms(x.data, begin, end - begin, x.data.dtype.type(step), w)

        return implementation

    def implementation(x, row, step, w):
        begin, end = get_span(x, row)
        c = x.data.dtype.type(step)
        squared_norm = x.data.dtype.type(0)
        l1_norm = x.data.dtype.type(0)
        for position in range(begin, end):
            k = get_feature(x, position, begin)
            weight = w[k] + c * x.data[position]
            w[k] = weight
            squared_norm += weight * weight
            l1_norm += abs(weight)
        return squared_norm, l1_norm

    return implementation


@inlined
def compute_squared_norm(x: DenseRows | CsrRows, row: int) -> float:
    """Return the sum of squares of a row."""
    begin, end = get_span(x, row)
    total = x.data.dtype.type(0)
    for position in range(begin, end):
        total += x.data[position] * x.data[position]
    return total


def count_values_per_row(x: DenseRows | CsrRows) -> int:
    """Return the mean number of stored values per row, rounded up."""
    raise NotImplementedError("only inside compiled code")


@overload(count_values_per_row, jit_options=INLINE)
def _count_values_per_row(x):
    if is_csr(x):
        return lambda x: x.data.shape[0] // larger(1, x.indptr.shape[0] - 1) + 1
    return lambda x: x.n_features
