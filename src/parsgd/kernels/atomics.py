"""A lock for compiled code: the one thing between threads that plain loads and stores cannot do.

It is the first 8 bytes of an array of 8-byte numbers: 0 while nobody holds it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from parsgd.kernels.compiling import inlined

_I64 = ir.IntType(64)


def _first_word(context, builder, signature, arguments):
    """The address of the first 8 bytes, whatever they hold."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(data, _I64.as_pointer())


@intrinsic
def exchange(typing_context, array, word):
    """Write ``word`` and return what was there, in one move."""

    def generate(context, builder, signature, arguments):
        at = _first_word(context, builder, signature, arguments)
        return builder.atomic_rmw("xchg", at, arguments[1], "acq_rel")

    return types.int64(array, types.int64), generate


@intrinsic
def peek(typing_context, array):
    """The word as it is now: read anew every time."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_first_word(context, builder, signature, arguments), "monotonic", 8)

    return types.int64(array), generate


@intrinsic
def put(typing_context, array, word):
    """Write ``word``, after all that was written before."""

    def generate(context, builder, signature, arguments):
        at = _first_word(context, builder, signature, arguments)
        builder.store_atomic(arguments[1], at, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@inlined
def lock(array):
    """Wait until nobody holds the lock, and take it."""
    while exchange(array, 1) != 0:
        # reading leaves the line where it is; exchanging would take it from whoever is to unlock it
        while peek(array) != 0:
            pass


@inlined
def unlock(array):
    """Let the next one in."""
    put(array, 0)
