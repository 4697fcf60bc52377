"""A spin lock for compiled code.  Plain loads and stores cannot exclude other threads.

The lock is the first 8 bytes of an array of 8-byte numbers; 0 means free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from parsgd.kernels.lowlevel.compiling import inlined

if TYPE_CHECKING:
    import numpy as np
    from numba.core.typing import Context, Signature

_I64 = ir.IntType(64)


def _first_word(context, builder, signature, arguments):
    """Return the address of the first 8 bytes as an integer pointer."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(data, _I64.as_pointer())


@intrinsic
def exchange(typing_context: Context, array: types.Type, word: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Write ``word`` and return the previous value, atomically."""

    def generate(context, builder, signature, arguments):
        at = _first_word(context, builder, signature, arguments)
        return builder.atomic_rmw("xchg", at, arguments[1], "acq_rel")

    return types.int64(array, types.int64), generate


@intrinsic
def load(typing_context: Context, array: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Read the word from memory, on every call, before all later reads."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_first_word(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array), generate


@intrinsic
def store(typing_context: Context, array: types.Type, word: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Write ``word`` after all earlier writes."""

    def generate(context, builder, signature, arguments):
        at = _first_word(context, builder, signature, arguments)
        builder.store_atomic(arguments[1], at, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@inlined
def lock(array: np.ndarray) -> None:
    """Acquire the lock; spins until it is free."""
    while exchange(array, 1) != 0:
        # reads leave the cache line shared; repeated exchanges would move it away from the thread that unlocks
        while load(array) != 0:
            pass


@inlined
def unlock(array: np.ndarray) -> None:
    """Release the lock."""
    store(array, 0)
