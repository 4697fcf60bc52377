"""Matrix products inside compiled code: GEMM of the BLAS that SciPy ships.

The address of a C function differs between processes, so a kernel that held it as a global could not be cached on disk.
The address is an argument instead, and :func:`gemm` calls it.  Matrices are passed as addresses too
(:func:`get_address`), because a batch may be in the user's array or in a buffer.

BLAS is column-major; a row-major matrix is its transpose.  The three products of a network, for ``a (b, i)``, ``w (i,
o)`` and ``d (b, o)``, all row-major::

    forward    c = a w                     values of the next layer
    backward   c = d w^T                   errors of the previous layer
    outer      c = beta c + alpha a^T d    gradient of the weights, or their step
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from parsgd.kernels.lowlevel.compiling import inlined

if TYPE_CHECKING:
    from numba.core.typing import Context, Signature

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@functools.cache
def get_gemm_address(dtype: str) -> int:
    """Return the address of ``sgemm`` or ``dgemm`` in this process, for float32 or float64."""
    name = {"float32": "sgemm", "float64": "dgemm"}[dtype]
    return get_cython_function_address("scipy.linalg.cython_blas", name)


@intrinsic
def get_address(
    typing_context: Context, array: types.Type, position: types.Type
) -> tuple[Signature, Callable[..., Any]]:
    """Return the address of ``array[position]``."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        offset = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.ptrtoint(builder.gep(data, [offset]), _I64)

    return types.int64(array, position), generate


@intrinsic
def gemm(
    typing_context: Context,
    function: types.Type,
    transpose_a: types.Type,
    transpose_b: types.Type,
    m: types.Type,
    n: types.Type,
    k: types.Type,
    alpha: types.Type,
    a: types.Type,
    lda: types.Type,
    b: types.Type,
    ldb: types.Type,
    beta: types.Type,
    c: types.Type,
    ldc: types.Type,
) -> tuple[Signature, Callable[..., Any]]:
    """Compute ``c = alpha op(a) op(b) + beta c``, column-major.

    ``function``, ``a``, ``b``, ``c`` are addresses (int64).  The type of ``alpha`` must match ``function``: float32
    for sgemm, float64 for dgemm.
    """

    def generate(context, builder, signature, arguments):
        number = context.get_value_type(alpha)
        llvm_types = [_I8, _I8, _I32, _I32, _I32, number, None, _I32, None, _I32, number, None, _I32]
        sources = [
            types.int8,
            types.int8,
            *[types.int32] * 3,
            alpha,
            None,
            types.int32,
            None,
            types.int32,
            alpha,
            None,
            types.int32,
        ]
        pointers = []
        for llvm_type, source, value, given in zip(llvm_types, sources, arguments[1:], signature.args[1:], strict=True):
            if llvm_type is None:
                pointers.append(builder.inttoptr(value, number.as_pointer()))
                continue
            # Fortran passes all arguments by reference
            reference = cgutils.alloca_once(builder, llvm_type)
            builder.store(context.cast(builder, value, given, source), reference)
            pointers.append(reference)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), pointers)
        return context.get_dummy_value()

    signature = types.void(
        types.int64,
        transpose_a,
        transpose_b,
        m,
        n,
        k,
        alpha,
        types.int64,
        lda,
        types.int64,
        ldb,
        alpha,
        types.int64,
        ldc,
    )
    return signature, generate


_KEEP, _TRANSPOSE = ord("N"), ord("T")


@inlined
def multiply_forward(function: int, b: int, i: int, o: int, one: float, a: int, w: int, c: int) -> None:
    """Compute ``c (b, o) = a (b, i) w (i, o)``; ``one`` is 1 in the matrices' dtype."""
    gemm(function, _KEEP, _KEEP, o, b, i, one, w, o, a, i, one - one, c, o)


@inlined
def multiply_backward(function: int, b: int, i: int, o: int, one: float, d: int, w: int, c: int) -> None:
    """Compute ``c (b, i) = d (b, o) w (i, o)^T``."""
    gemm(function, _TRANSPOSE, _KEEP, i, b, o, one, w, o, d, o, one - one, c, i)


@inlined
def multiply_outer(
    function: int, b: int, i: int, o: int, alpha: float, a: int, lda: int, d: int, beta: float, c: int
) -> None:
    """Compute ``c (i, o) = beta c + alpha a (b, i)^T d (b, o)``; ``lda`` is the row stride of ``a``."""
    gemm(function, _KEEP, _TRANSPOSE, o, i, b, alpha, d, o, a, lda, beta, c, o)
