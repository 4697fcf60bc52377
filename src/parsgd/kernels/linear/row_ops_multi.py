"""Operations on one row for several outputs, with feature-major weights ``w[feature * n_outputs + output]``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numba.extending import overload

from parsgd.kernels.linear.hyperparams import LANES
from parsgd.kernels.linear.row_ops import get_span
from parsgd.kernels.lowlevel.compiling import INLINE, inlined
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.intrinsics import add_tiles, add_with_norms_tiles, dot_tiles

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows

U = np.uint64


class Tiles3(NamedTuple):
    """2 or 3 outputs: two vectors of 2, which overlap."""

    n_outputs: int = 3


class Tiles7(NamedTuple):
    """4 to 7 outputs: two vectors of 4, which overlap."""

    n_outputs: int = 7


class Tiles8(NamedTuple):
    """8 outputs: one vector of 8 per feature."""

    n_outputs: int = 8


class Tiles16(NamedTuple):
    """Up to 16 outputs: two vectors of 8."""

    n_outputs: int = 16


class Tiles24(NamedTuple):
    """Up to 24 outputs: three vectors of 8."""

    n_outputs: int = 24


class Tiles32(NamedTuple):
    """Up to 32 outputs: four vectors of 8."""

    n_outputs: int = 32


class ManyTiles(NamedTuple):
    """More than 32 outputs: one pass over a row per four vectors."""

    n_outputs: int = 33


Tiles: TypeAlias = Tiles3 | Tiles7 | Tiles8 | Tiles16 | Tiles24 | Tiles32 | ManyTiles
_ONE_PASS = (Tiles3, Tiles7, Tiles8, Tiles16, Tiles24, Tiles32)


def choose_tiles(n_outputs: int) -> Tiles:
    """Return the kind of passes over a row for ``n_outputs``: a type, so that no other kind is compiled.

    >>> [choose_tiles(n) for n in (3, 20)]
    [Tiles3(n_outputs=3), Tiles24(n_outputs=24)]
    """
    # kernels of one output make no such pass
    kinds = (kind() for kind in _ONE_PASS if n_outputs > 1)
    return next((kind for kind in kinds if n_outputs <= kind.n_outputs), ManyTiles())


@functools.cache
def _make_multi_pass(tiles):
    """Make a pass over a row for any number of outputs, in several tiles; its arguments are those of a tile."""
    tile1, tile2, tile3, tile4 = tiles.up_to_8, tiles.up_to_16, tiles.up_to_24, tiles.up_to_32
    lanes1, lanes2, lanes3, lanes4 = (U(LANES * n) for n in (1, 2, 3, 4))

    @inlined
    def pass_over(x, begin, end, w, stride, first, last, values, squares, l1_norms):
        k = first
        while k < last:
            left = last - k
            if left > lanes3:
                tile4(x, begin, end, w, stride, k, smaller(last, k + lanes4), values, squares, l1_norms)
            elif left > lanes2:
                tile3(x, begin, end, w, stride, k, last, values, squares, l1_norms)
            elif left > lanes1:
                tile2(x, begin, end, w, stride, k, last, values, squares, l1_norms)
            else:
                tile1(x, begin, end, w, stride, k, last, values, squares, l1_norms)
            k += lanes4

    return pass_over


def _choose_pass(kind, tiles):
    """Choose the pass over a row, of the ``tiles``, for a ``kind`` of :func:`choose_tiles`."""
    if kind.instance_class is ManyTiles:
        return _make_multi_pass(tiles)
    in_one_pass = (tiles.up_to_3, tiles.up_to_7, tiles.exactly_8, tiles.up_to_16, tiles.up_to_24, tiles.up_to_32)
    return in_one_pass[_ONE_PASS.index(kind.instance_class)]


def dot_outputs(
    tiles: Tiles,
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    n_outputs: int,
    out: np.ndarray,
) -> None:
    """Set ``out[k]`` to the product of a row and the weights of output k, for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs(
    tiles: Tiles,
    x: DenseRows | CsrRows,
    row: int,
    steps: np.ndarray,
    w: np.ndarray,
    n_outputs: int,
) -> None:
    """Add ``steps[k] * row`` to the weights of output k, for all outputs."""
    raise NotImplementedError("only inside compiled code")


def add_outputs_with_norms(
    tiles: Tiles,
    x: DenseRows | CsrRows,
    row: int,
    steps: np.ndarray,
    w: np.ndarray,
    n_outputs: int,
    squares: np.ndarray,
    l1_norms: np.ndarray,
) -> None:
    """Add as :func:`add_outputs`; also store the sums of squares and absolute values of the touched weights."""
    raise NotImplementedError("only inside compiled code")


@overload(dot_outputs, jit_options=INLINE)
def _dot_outputs(tiles, x, row, w, n_outputs, out):
    pass_over = _choose_pass(tiles, dot_tiles)

    def implementation(tiles, x, row, w, n_outputs, out):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, U(n_outputs), U(0), U(n_outputs), out, out, out)

    return implementation


@overload(add_outputs, jit_options=INLINE)
def _add_outputs(tiles, x, row, steps, w, n_outputs):
    pass_over = _choose_pass(tiles, add_tiles)

    def implementation(tiles, x, row, steps, w, n_outputs):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, U(n_outputs), U(0), U(n_outputs), steps, steps, steps)

    return implementation


@overload(add_outputs_with_norms, jit_options=INLINE)
def _add_outputs_with_norms(tiles, x, row, steps, w, n_outputs, squares, l1_norms):
    pass_over = _choose_pass(tiles, add_with_norms_tiles)

    def implementation(tiles, x, row, steps, w, n_outputs, squares, l1_norms):
        begin, end = get_span(x, row)
        pass_over(x, begin, end, w, U(n_outputs), U(0), U(n_outputs), steps, squares, l1_norms)

    return implementation
