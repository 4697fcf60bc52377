"""Operations on one row for several outputs, with feature-major weights ``w[feature * stride + output]``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba.extending import overload

from parsgd.kernels.linear.hyperparams import LANES
from parsgd.kernels.linear.row_ops import get_span
from parsgd.kernels.lowlevel.compiling import INLINE, inlined
from parsgd.kernels.lowlevel.intrinsics import add_tiles, add_with_norms_tiles, dot_tiles

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows

U = np.uint64


class Tiles1(NamedTuple):
    """Up to 8 outputs: one pass over a row with one vector per feature."""

    n_vectors: int = 1


class Tiles2(NamedTuple):
    """Up to 16 outputs: two vectors per feature."""

    n_vectors: int = 2


class Tiles3(NamedTuple):
    """Up to 24 outputs: three vectors per feature."""

    n_vectors: int = 3


class Tiles4(NamedTuple):
    """Up to 32 outputs: four vectors per feature."""

    n_vectors: int = 4


class ManyTiles(NamedTuple):
    """More than 32 outputs: one pass over a row per four vectors."""

    n_vectors: int = 5


_ONE_PASS = (Tiles1, Tiles2, Tiles3, Tiles4)


def choose_tiles(stride: int) -> Tiles1 | Tiles2 | Tiles3 | Tiles4 | ManyTiles:
    """Return the kind of passes over a row for ``stride`` outputs: a type, so that no other kind is compiled."""
    n_vectors = stride // LANES
    return _ONE_PASS[n_vectors - 1]() if 1 <= n_vectors <= 4 else ManyTiles()


@functools.cache
def _make_multi_pass(tiles):
    """Make a pass over a row for any number of outputs, in several tiles; its arguments are those of a tile."""
    tile1, tile2, tile3, tile4 = tiles
    lanes2, lanes3, lanes4 = (U(LANES * n) for n in (2, 3, 4))

    @inlined
    def pass_over(x, begin, end, w, stride, first, values, squares, l1_norms):
        k = first
        while k < stride:
            left = stride - k
            if left >= lanes4:
                tile4(x, begin, end, w, stride, k, values, squares, l1_norms)
            elif left >= lanes3:
                tile3(x, begin, end, w, stride, k, values, squares, l1_norms)
            elif left >= lanes2:
                tile2(x, begin, end, w, stride, k, values, squares, l1_norms)
            else:
                tile1(x, begin, end, w, stride, k, values, squares, l1_norms)
            k += lanes4

    return pass_over


def _choose_pass(kind, tiles):
    """Choose the pass over a row, of the four ``tiles``, for a ``kind`` of :func:`choose_tiles`."""
    if kind.instance_class is ManyTiles:
        return _make_multi_pass(tiles)
    return tiles[_ONE_PASS.index(kind.instance_class)]


def dot_outputs(
    tiles: Tiles1 | Tiles2 | Tiles3 | Tiles4 | ManyTiles,
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    stride: int,
    out: np.ndarray,
) -> None:
    """Set ``out[k]`` to the product of a row and the weights of output k, for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs(
    tiles: Tiles1 | Tiles2 | Tiles3 | Tiles4 | ManyTiles,
    x: DenseRows | CsrRows,
    row: int,
    steps: np.ndarray,
    w: np.ndarray,
    stride: int,
) -> None:
    """Add ``steps[k] * row`` to the weights of output k, for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs_with_norms(
    tiles: Tiles1 | Tiles2 | Tiles3 | Tiles4 | ManyTiles,
    x: DenseRows | CsrRows,
    row: int,
    steps: np.ndarray,
    w: np.ndarray,
    stride: int,
    squares: np.ndarray,
    l1_norms: np.ndarray,
) -> None:
    """Add as :func:`add_outputs`; also store the sums of squares and absolute values of the touched weights."""
    raise NotImplementedError("only inside compiled code")


@overload(dot_outputs, jit_options=INLINE)
def _dot_outputs(tiles, x, row, w, stride, out):
    pass_over = _choose_pass(tiles, dot_tiles)

    def implementation(tiles, x, row, w, stride, out):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, stride, U(0), out, out, out)

    return implementation


@overload(add_outputs, jit_options=INLINE)
def _add_outputs(tiles, x, row, steps, w, stride):
    pass_over = _choose_pass(tiles, add_tiles)

    def implementation(tiles, x, row, steps, w, stride):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, stride, U(0), steps, steps, steps)

    return implementation


@overload(add_outputs_with_norms, jit_options=INLINE)
def _add_outputs_with_norms(tiles, x, row, steps, w, stride, squares, l1_norms):
    pass_over = _choose_pass(tiles, add_with_norms_tiles)

    def implementation(tiles, x, row, steps, w, stride, squares, l1_norms):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, stride, U(0), steps, squares, l1_norms)

    return implementation
