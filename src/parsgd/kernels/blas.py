"""Matrix products inside compiled code: the general product of the BLAS that SciPy brings.

A kernel cannot hold the address of a C function as a global and still be cached on disk: the address is another one in
every process.  So the address is an argument, and :func:`gemm` calls whatever lies there.  Matrices are given as
addresses too (:func:`address`), because a batch may lie in the user's data or in a buffer of ours.

BLAS is column-major; a row-major matrix is its transpose.  The three products of a network, for ``a (b, i)``,
``w (i, o)`` and ``d (b, o)``, all row-major::

    forward    c = a w           the values of the next layer
    backward   c = d w^T         the error of the layer before
    outer      c = beta c + alpha a^T d    the gradient of the weights, or the weights' step itself
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from parsgd.kernels.compiling import inlined

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@functools.cache
def gemm_address(dtype: str) -> int:
    """Where ``sgemm`` or ``dgemm`` lies in this process, for kernels of float32 or float64."""
    name = {"float32": "sgemm", "float64": "dgemm"}[dtype]
    return get_cython_function_address("scipy.linalg.cython_blas", name)


@intrinsic
def address(typing_context, array, position):
    """The address of ``array[position]``."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        offset = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.ptrtoint(builder.gep(data, [offset]), _I64)

    return types.int64(array, position), generate


@intrinsic
def gemm(typing_context, function, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """``c = alpha op(a) op(b) + beta c``, column-major; ``function``, ``a``, ``b``, ``c`` are addresses (int64).

    The type of ``alpha`` says whether ``function`` is sgemm or dgemm.
    """

    def generate(context, builder, signature, arguments):
        number = context.get_value_type(alpha)
        kinds = [_I8, _I8, _I32, _I32, _I32, number, None, _I32, None, _I32, number, None, _I32]
        sources = [types.int8, types.int8, *[types.int32] * 3, alpha, None, types.int32, None, types.int32, alpha, None,
                   types.int32]  # fmt: skip
        pointers = []
        for kind, source, value, given in zip(kinds, sources, arguments[1:], signature.args[1:], strict=True):
            if kind is None:
                pointers.append(builder.inttoptr(value, number.as_pointer()))
                continue
            # Fortran takes everything by reference
            slot = cgutils.alloca_once(builder, kind)
            builder.store(context.cast(builder, value, given, source), slot)
            pointers.append(slot)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), pointers)
        return context.get_dummy_value()

    signature = types.void(
        types.int64, transpose_a, transpose_b, m, n, k, alpha, types.int64, lda, types.int64, ldb, alpha, types.int64,
        ldc,
    )  # fmt: skip
    return signature, generate


_KEEP, _TRANSPOSE = ord("N"), ord("T")


@inlined
def forward_product(function, b, i, o, one, a, w, c):
    """``c (b, o) = a (b, i) w (i, o)``; ``one`` is 1 in the matrices' dtype."""
    gemm(function, _KEEP, _KEEP, o, b, i, one, w, o, a, i, one - one, c, o)


@inlined
def backward_product(function, b, i, o, one, d, w, c):
    """``c (b, i) = d (b, o) w (i, o)^T``."""
    gemm(function, _TRANSPOSE, _KEEP, i, b, o, one, w, o, d, o, one - one, c, i)


@inlined
def outer_product(function, b, i, o, alpha, a, lda, d, beta, c):
    """``c (i, o) = beta c + alpha a (b, i)^T d (b, o)``; ``lda`` numbers lie between rows of ``a``."""
    gemm(function, _KEEP, _TRANSPOSE, o, i, b, alpha, d, o, a, lda, beta, c, o)
