"""Copy columns, given by memory addresses, into a row-major matrix; cast, centered and scaled on the way."""

from __future__ import annotations

import numpy as np
from numba.extending import intrinsic

from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.gil import MIN_VALUES_TO_RELEASE, reacquire_gil, release_gil

U = np.uint64
# Rows per tile: this many stay in the first-level cache while all columns are written.
_TILE = 64


@intrinsic
def _load_number(typing_context, address, position, like):
    """Load item ``position`` of an array with the type of ``like`` that begins at ``address``."""

    def generate(context, builder, signature, arguments):
        begin = builder.inttoptr(arguments[0], context.get_value_type(like.dtype).as_pointer())
        return builder.load(builder.gep(begin, [arguments[1]]))

    return like.dtype(address, position, like), generate


@kernel
def copy_columns(
    addresses: np.ndarray,
    like: np.ndarray,
    out: np.ndarray,
    out_columns: np.ndarray,
    centers: np.ndarray,
    divisors: np.ndarray,
) -> None:
    """Set ``out[i, out_columns[k]] = (column_k[i] - centers[k]) / divisors[k]``.

    Column k has one number per row of ``out``, of the type of the array ``like``, starting at ``addresses[k]``.
    """
    n, number = out.shape[0], out.dtype.type
    token = release_gil(out.size >= MIN_VALUES_TO_RELEASE)
    for begin in range(0, n, _TILE):
        end = smaller(begin + _TILE, n)
        for k in range(addresses.shape[0]):
            address, out_column, center, divisor = addresses[k], out_columns[k], centers[k], divisors[k]
            if center == 0.0 and divisor == 1.0:
                for i in range(begin, end):
                    out[U(i), U(out_column)] = number(_load_number(address, i, like))
            else:
                for i in range(begin, end):
                    out[U(i), U(out_column)] = number((_load_number(address, i, like) - center) / divisor)
    reacquire_gil(token)
