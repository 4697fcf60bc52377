"""What SGD does with one row: products, updates, norms, prefetch.  One body serves dense and CSR rows.

A dense matrix is read as a CSR matrix whose feature numbers need not be stored: both layouts are a run of positions in
``data``, and differ in :func:`span` (where a row's run lies) and :func:`feature` (which feature a position holds).
Positions and features are unsigned everywhere: numba guards signed ones against Python's negative indexing, which
doubled the time of a sparse row.

The weights of one output have room for whole vectors past their end, where they stay 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from parsgd.kernels.compiling import INLINE, inlined
from parsgd.kernels.intrinsics import (
    add_measured_tiles,
    add_tiles,
    dense_add,
    dense_add_measured,
    dense_dot,
    dot_tiles,
    prefetch,
    sparse_dot,
)
from parsgd.kernels.recipe import LANES

U = np.uint64
_LINE_BYTES = 64
_dot1, _dot2, _dot3, _dot4 = dot_tiles
_add1, _add2, _add3, _add4 = add_tiles
_measured1, _measured2, _measured3, _measured4 = add_measured_tiles
_L1, _L2, _L3, _L4 = (U(LANES * n) for n in (1, 2, 3, 4))


def span(x, row):
    """``(begin, end)`` of the positions of ``row``."""
    raise NotImplementedError("only inside compiled code")


def feature(x, position, begin):
    """The feature that ``position`` holds, in a row that begins at ``begin``."""
    raise NotImplementedError("only inside compiled code")


def _sparse(x) -> bool:
    return "indices" in x.fields


@overload(span, jit_options=INLINE)
def _span(x, row):
    if _sparse(x):
        return lambda x, row: (U(x.indptr[U(row)]), U(x.indptr[U(row) + U(1)]))
    return lambda x, row: (U(row) * U(x.n_features), (U(row) + U(1)) * U(x.n_features))


@overload(feature, jit_options=INLINE)
def _feature(x, position, begin):
    if not _sparse(x):
        return lambda x, position, begin: position - begin
    if x.types[1].dtype == types.int32:
        return lambda x, position, begin: U(np.uint32(x.indices[position]))
    return lambda x, position, begin: U(x.indices[position])


def prefetch_row(x, row):
    """Ask for the lines of a row that will be visited soon."""
    raise NotImplementedError("only inside compiled code")


@overload(prefetch_row, jit_options=INLINE)
def _prefetch_row(x, row):
    width = x.types[0].dtype.bitwidth // 8
    stride = U(_LINE_BYTES // width)
    if not _sparse(x):

        def implementation(x, row):
            begin, end = span(x, row)
            for position in range(begin, end, stride):
                prefetch(x.data, position)
            # a row seldom begins where a line does: its last line is one more
            prefetch(x.data, end - U(1))

        return implementation

    index_stride = U(_LINE_BYTES // (x.types[1].dtype.bitwidth // 8))

    def implementation(x, row):
        begin, end = span(x, row)
        for position in range(begin, end, stride):
            prefetch(x.data, position)
        for position in range(begin, end, index_stride):
            prefetch(x.indices, position)
        if begin < end:
            prefetch(x.data, end - U(1))
            prefetch(x.indices, end - U(1))

    return implementation


def prefetch_span(x, row):
    """Ask for the pointers of a row that will be prefetched soon."""
    raise NotImplementedError("only inside compiled code")


@overload(prefetch_span, jit_options=INLINE)
def _prefetch_span(x, row):
    if _sparse(x):
        return lambda x, row: prefetch(x.indptr, U(row))
    return lambda x, row: None


def dot(x, row, w):
    """Product of a row and the weights of one output."""
    raise NotImplementedError("only inside compiled code")


def add(x, row, step, w):
    """``w += step * row``."""
    raise NotImplementedError("only inside compiled code")


def add_measured(x, row, step, w):
    """``w += step * row``; returns the sums of squares and of absolutes of the weights that the row touches."""
    raise NotImplementedError("only inside compiled code")


@overload(dot, jit_options=INLINE)
def _dot(x, row, w):
    if not _sparse(x):

        def implementation(x, row, w):
            begin, end = span(x, row)
            return dense_dot(x.data, begin, end - begin, x.data.dtype.type(0), w)

        return implementation

    def implementation(x, row, w):
        begin, end = span(x, row)
        return sparse_dot(x.data, x.indices, begin, end, w)

    return implementation


@overload(add, jit_options=INLINE)
def _add(x, row, step, w):
    if not _sparse(x):

        def implementation(x, row, step, w):
            begin, end = span(x, row)
            dense_add(x.data, begin, end - begin, x.data.dtype.type(step), w)

        return implementation

    def implementation(x, row, step, w):
        begin, end = span(x, row)
        c = x.data.dtype.type(step)
        for position in range(begin, end):
            w[feature(x, position, begin)] += c * x.data[position]

    return implementation


@overload(add_measured, jit_options=INLINE)
def _add_measured(x, row, step, w):
    if not _sparse(x):

        def implementation(x, row, step, w):
            begin, end = span(x, row)
            return dense_add_measured(x.data, begin, end - begin, x.data.dtype.type(step), w)

        return implementation

    def implementation(x, row, step, w):
        begin, end = span(x, row)
        c = x.data.dtype.type(step)
        square = x.data.dtype.type(0)
        absolute = x.data.dtype.type(0)
        for position in range(begin, end):
            k = feature(x, position, begin)
            weight = w[k] + c * x.data[position]
            w[k] = weight
            square += weight * weight
            absolute += abs(weight)
        return square, absolute

    return implementation


@inlined
def square_norm(x, row):
    """Sum of squares of a row."""
    begin, end = span(x, row)
    total = x.data.dtype.type(0)
    for position in range(begin, end):
        total += x.data[position] * x.data[position]
    return total


# -- several outputs: ``w[feature * stride + k]`` ----------------------------------------------------------------------


class Tiles1(NamedTuple):
    """Up to 8 outputs: one pass over a row serves them in one vector."""

    n_vectors: int = 1


class Tiles2(NamedTuple):
    """Up to 16 outputs, in two vectors."""

    n_vectors: int = 2


class Tiles3(NamedTuple):
    """Up to 24 outputs, in three vectors."""

    n_vectors: int = 3


class Tiles4(NamedTuple):
    """Up to 32 outputs, in four vectors."""

    n_vectors: int = 4


class ManyTiles(NamedTuple):
    """Any number of outputs: a pass over a row for every four vectors."""

    n_vectors: int = 5


_ONE_PASS = (Tiles1, Tiles2, Tiles3, Tiles4)


def tiles_of(stride):
    """The kind of passes over a row for ``stride`` numbers per feature: a type, so that no others are compiled."""
    n_vectors = stride // LANES
    return _ONE_PASS[n_vectors - 1]() if 1 <= n_vectors <= 4 else ManyTiles()


def dot_outputs(tiles, x, row, w, stride, out):
    """``out[k]`` = product of a row and the weights of output k, for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs(tiles, x, row, steps, w, stride):
    """``w[:, k] += steps[k] * row`` for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs_measured(tiles, x, row, steps, w, stride, squares, absolutes):
    """:func:`add_outputs`; also the sums of squares and absolutes of the touched weights, for each output."""
    raise NotImplementedError("only inside compiled code")


def _one_pass(tiles, of_width):
    """The tile of the intrinsics ``of_width`` that serves all outputs in one pass; None where several are needed."""
    return None if tiles.instance_class is ManyTiles else of_width[_ONE_PASS.index(tiles.instance_class)]


@overload(dot_outputs, jit_options=INLINE)
def _dot_outputs(tiles, x, row, w, stride, out):
    tile = _one_pass(tiles, dot_tiles)
    if tile is not None:

        def implementation(tiles, x, row, w, stride, out):
            begin, end = span(x, row)
            tile(x, begin, end, w, stride, U(0), out, out, out)

        return implementation

    def implementation(tiles, x, row, w, stride, out):
        begin, end = span(x, row)
        k = U(0)
        while k < stride:
            left = stride - k
            if left >= _L4:
                _dot4(x, begin, end, w, stride, k, out, out, out)
            elif left >= _L3:
                _dot3(x, begin, end, w, stride, k, out, out, out)
            elif left >= _L2:
                _dot2(x, begin, end, w, stride, k, out, out, out)
            else:
                _dot1(x, begin, end, w, stride, k, out, out, out)
            k += _L4

    return implementation


@overload(add_outputs, jit_options=INLINE)
def _add_outputs(tiles, x, row, steps, w, stride):
    tile = _one_pass(tiles, add_tiles)
    if tile is not None:

        def implementation(tiles, x, row, steps, w, stride):
            begin, end = span(x, row)
            tile(x, begin, end, w, stride, U(0), steps, steps, steps)

        return implementation

    def implementation(tiles, x, row, steps, w, stride):
        begin, end = span(x, row)
        k = U(0)
        while k < stride:
            left = stride - k
            if left >= _L4:
                _add4(x, begin, end, w, stride, k, steps, steps, steps)
            elif left >= _L3:
                _add3(x, begin, end, w, stride, k, steps, steps, steps)
            elif left >= _L2:
                _add2(x, begin, end, w, stride, k, steps, steps, steps)
            else:
                _add1(x, begin, end, w, stride, k, steps, steps, steps)
            k += _L4

    return implementation


@overload(add_outputs_measured, jit_options=INLINE)
def _add_outputs_measured(tiles, x, row, steps, w, stride, squares, absolutes):
    tile = _one_pass(tiles, add_measured_tiles)
    if tile is not None:

        def implementation(tiles, x, row, steps, w, stride, squares, absolutes):
            begin, end = span(x, row)
            tile(x, begin, end, w, stride, U(0), steps, squares, absolutes)

        return implementation

    def implementation(tiles, x, row, steps, w, stride, squares, absolutes):
        begin, end = span(x, row)
        k = U(0)
        while k < stride:
            left = stride - k
            if left >= _L4:
                _measured4(x, begin, end, w, stride, k, steps, squares, absolutes)
            elif left >= _L3:
                _measured3(x, begin, end, w, stride, k, steps, squares, absolutes)
            elif left >= _L2:
                _measured2(x, begin, end, w, stride, k, steps, squares, absolutes)
            else:
                _measured1(x, begin, end, w, stride, k, steps, squares, absolutes)
            k += _L4

    return implementation
