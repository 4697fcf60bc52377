"""The exponential function in float64 and float32, in a form that compilers vectorize.

``e^x = 2^n p(r)`` with ``n = round(x / log 2)``, ``r = x - n log 2`` and ``p`` the Taylor polynomial on ``abs(r) <=
log(2) / 2``.  A call of the C library would prevent LLVM from inlining and vectorizing the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from parsgd.kernels.lowlevel.compiling import INLINE, inlined
from parsgd.kernels.lowlevel.intrinsics import bits_to_float64

if TYPE_CHECKING:
    from numba.core.typing import Context, Signature

_LOG2E, _LN2 = 1.0 / math.log(2.0), math.log(2.0)
_TAYLOR = tuple(1.0 / math.factorial(i) for i in range(13))
_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9, _T10, _T11, _T12 = _TAYLOR
F = np.float32
_F_LOG2E, _F_LN2 = F(_LOG2E), F(_LN2)
_F0, _F1, _F2, _F3, _F4, _F5, _F6, _F7 = map(F, _TAYLOR[:8])
_F_LOW, _F_HIGH, _F_HALF = F(-87.0), F(88.0), F(0.5)


@intrinsic
def bits_to_float32(typing_context: Context, bits: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Return the float32 with the bit pattern of the int32 ``bits``."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@inlined
def exp(x: float) -> float:
    """Return e^x in float64, with x clipped to [-708, 709].

    The relative error is at most 1e-14, or 3e-14 far from 0, where ``n log(2)`` is rounded.
    """
    x = -708.0 if x < -708.0 else (709.0 if x > 709.0 else x)  # keeps NaN
    n = math.floor(x * _LOG2E + 0.5)
    r = x - n * _LN2
    # Estrin's scheme instead of Horner's: half as many dependent additions, and an SGD step waits for the result
    r2 = r * r
    r4 = r2 * r2
    low = (_T0 + r * _T1) + r2 * (_T2 + r * _T3)
    middle = (_T4 + r * _T5) + r2 * (_T6 + r * _T7)
    high = (_T8 + r * _T9) + r2 * (_T10 + r * _T11)
    q = low + r4 * middle + (r4 * r4) * (high + r4 * _T12)
    # via int32: only AVX-512 converts float64 to int64
    return q * bits_to_float64((np.int64(np.int32(n)) + 1023) << 52)


@inlined
def _exp32(x):
    x = _F_LOW if x < _F_LOW else (_F_HIGH if x > _F_HIGH else x)
    n = F(math.floor(x * _F_LOG2E + _F_HALF))
    r = x - n * _F_LN2
    q = _F4 + r * (_F5 + r * (_F6 + r * _F7))
    q = _F0 + r * (_F1 + r * (_F2 + r * (_F3 + r * q)))
    return q * bits_to_float32(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


def exp_same_dtype(x: float) -> float:
    """Return e^x in the type of ``x``: float64 as :func:`exp`, float32 to 1e-6 relative with x clipped to [-87, 88]."""
    raise NotImplementedError("only inside compiled code")


@overload(exp_same_dtype, jit_options=INLINE)
def _exp_same_dtype(x):
    if x == types.float32:
        return lambda x: _exp32(x)
    return lambda x: exp(x)
