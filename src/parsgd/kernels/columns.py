"""From columns to rows: columns that lie anywhere in memory become a row-major matrix, cast and scaled on the way."""

from __future__ import annotations

import numpy as np
from numba.extending import intrinsic

from parsgd.kernels.compiling import kernel
from parsgd.kernels.gil import LONG, release_gil, take_gil

U = np.uint64
# So many rows stay in the first-level cache while column after column is written into them.
_TILE = 64


@intrinsic
def _number_at(typing_context, address, position, like):
    """The number at ``position`` of an array of the type of ``like`` whose memory begins at ``address``."""

    def generate(context, builder, signature, arguments):
        begin = builder.inttoptr(arguments[0], context.get_value_type(like.dtype).as_pointer())
        return builder.load(builder.gep(begin, [arguments[1]]))

    return like.dtype(address, position, like), generate


@kernel
def put_columns(addresses, like, out, places, centers, divisors):
    """``out[i, places[k]] = (column_k[i] - centers[k]) / divisors[k]``.

    Column k has as many numbers as ``out`` has rows, of the type of the array ``like``, from ``addresses[k]`` on.
    """
    n, number = out.shape[0], out.dtype.type
    token = release_gil(out.size >= LONG)
    for begin in range(0, n, _TILE):
        end = min(begin + _TILE, n)
        for k in range(addresses.shape[0]):
            address, place, center, divisor = addresses[k], places[k], centers[k], divisors[k]
            if center == 0.0 and divisor == 1.0:
                for i in range(begin, end):
                    out[U(i), U(place)] = number(_number_at(address, i, like))
            else:
                for i in range(begin, end):
                    out[U(i), U(place)] = number((_number_at(address, i, like) - center) / divisor)
    take_gil(token)
