"""Products of a network's layers that BLAS does not cover: batches of scattered or sparse rows, and column sums.

Layers, weights and errors are runs of flat arrays: ``w`` from ``weight_start``, errors ``(rows, o)`` from ``e``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba.extending import overload

from parsgd.kernels.linear.row_ops import get_feature, get_span, is_csr
from parsgd.kernels.lowlevel.compiling import INLINE, called
from parsgd.kernels.lowlevel.gemm import get_address, multiply_forward
from parsgd.kernels.lowlevel.intrinsics import prefetch_to_second

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows

U = np.uint64
_LINE_BYTES = 64


def get_batch_address(
    x: DenseRows | CsrRows, order: np.ndarray, first: int, rows: int, values: np.ndarray, at: int
) -> int:
    """Return the address of a dense batch ``(rows, n_features)``; 0 for sparse rows.

    Adjacent rows are used in place.  Others are copied to ``values``, starting at ``at``.
    """
    raise NotImplementedError("only inside compiled code")


def prefetch_rows(x: DenseRows | CsrRows, order: np.ndarray, first: int, last: int) -> None:
    """Prefetch the dense rows ``order[first:last]`` for a later batch."""
    raise NotImplementedError("only inside compiled code")


def multiply_first_layer(
    gemm_address: int,
    x: DenseRows | CsrRows,
    order: np.ndarray,
    first: int,
    rows: int,
    i: int,
    o: int,
    a: int,
    w: np.ndarray,
    weight_start: int,
    scale: float,
    values: np.ndarray,
    at: int,
) -> None:
    """Compute the products of the first layer."""
    raise NotImplementedError("only inside compiled code")


@overload(get_batch_address, jit_options=INLINE)
def _get_batch_address(x, order, first, rows, values, at):
    if is_csr(x):
        return lambda x, order, first, rows, values, at: 0

    def implementation(x, order, first, rows, values, at):
        n = U(x.n_features)
        begin = U(order[U(first)])
        adjacent = True
        for r in range(U(rows)):
            adjacent &= U(order[U(first) + r]) == begin + r
        if adjacent:
            return get_address(x.data, begin * n)
        for r in range(U(rows)):
            source = U(order[U(first) + r]) * n
            target = U(at) + r * n
            for j in range(n):
                values[target + j] = x.data[source + j]
        return get_address(values, at)

    return implementation


@overload(prefetch_rows, jit_options=INLINE)
def _prefetch_rows(x, order, first, last):
    if is_csr(x):
        return lambda x, order, first, last: None
    stride = U(_LINE_BYTES // (x.types[0].dtype.bitwidth // 8))

    def implementation(x, order, first, last):
        n = U(x.n_features)
        for p in range(U(first), U(last)):
            begin = U(order[p]) * n
            for position in range(begin, begin + n, stride):
                prefetch_to_second(x.data, position)

    return implementation


@overload(multiply_first_layer, jit_options=INLINE)
def _multiply_first_layer(gemm_address, x, order, first, rows, i, o, a, w, weight_start, scale, values, at):
    if not is_csr(x):

        def implementation(gemm_address, x, order, first, rows, i, o, a, w, weight_start, scale, values, at):
            weights, products = get_address(w, weight_start), get_address(values, at)
            multiply_forward(gemm_address, rows, i, o, w.dtype.type(1), a, weights, products)

        return implementation

    def implementation(gemm_address, x, order, first, rows, i, o, a, w, weight_start, scale, values, at):
        number = w.dtype.type
        for r in range(U(rows)):
            target = U(at) + r * U(o)
            for j in range(U(o)):
                values[target + j] = number(0)
            begin, end = get_span(x, order[U(first) + r])
            for position in range(begin, end):
                c = number(scale) * x.data[position]
                source = U(weight_start) + get_feature(x, position, begin) * U(o)
                for j in range(U(o)):
                    values[target + j] += c * w[source + j]

    return implementation


def add_sparse_outer(
    x: DenseRows | CsrRows,
    order: np.ndarray,
    first: int,
    rows: int,
    o: int,
    alpha: float,
    errors: np.ndarray,
    e: int,
    target: np.ndarray,
    weight_start: int,
) -> float:
    """Add ``alpha * value * error`` to ``target[feature]`` for the stored values of sparse rows.

    Returns the growth of the sum of squares of ``target``; 0 for dense rows, which it leaves to BLAS.
    """
    raise NotImplementedError("only inside compiled code")


@overload(add_sparse_outer, jit_options=INLINE)
def _add_sparse_outer(x, order, first, rows, o, alpha, errors, e, target, weight_start):
    if not is_csr(x):
        return lambda x, order, first, rows, o, alpha, errors, e, target, weight_start: 0.0

    def implementation(x, order, first, rows, o, alpha, errors, e, target, weight_start):
        growth = 0.0
        for r in range(U(rows)):
            source = U(e) + r * U(o)
            begin, end = get_span(x, order[U(first) + r])
            for position in range(begin, end):
                c = alpha * x.data[position]
                at = U(weight_start) + get_feature(x, position, begin) * U(o)
                row_growth = target.dtype.type(0)
                for j in range(U(o)):
                    before = target[at + j]
                    after = before + c * errors[source + j]
                    target[at + j] = after
                    row_growth += after * after - before * before
                growth += row_growth
        return growth

    return implementation


def is_sparse(x: DenseRows | CsrRows) -> bool:
    """Return whether rows are in CSR."""
    raise NotImplementedError("only inside compiled code")


@overload(is_sparse, jit_options=INLINE)
def _is_sparse(x):
    sparse = is_csr(x)
    return lambda x: sparse


@called
def add_column_sums(values: np.ndarray, e: int, rows: int, o: int, target: np.ndarray, at: int, factor: float) -> None:
    """Add ``factor`` times the column sums of errors ``(rows, o)`` at ``e`` to ``target`` at ``at``."""
    for r in range(U(rows)):
        begin = U(e) + r * U(o)
        for j in range(U(o)):
            target[U(at) + j] += factor * values[begin + j]


@called
def fill_zeros(target: np.ndarray, at: int, n: int) -> None:
    """Set ``target[at:at + n] = 0``."""
    for i in range(U(n)):
        target[U(at) + i] = target.dtype.type(0)
