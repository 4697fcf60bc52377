"""Release and reacquire the GIL inside kernels: long calls release it, short ones keep it.

Next to a busy Python thread, a call that releases the GIL waits for it for Python's switch interval, 5 ms.  That is a
hundred times the duration of a small fit.  So a kernel releases the GIL only for long work, or if
other workers run beside it (:mod:`parsgd.kernels.lowlevel.gil_threshold`).

Between :func:`release_gil` and :func:`reacquire_gil` a kernel must not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from numba.core.typing import Context, Signature

# Threshold for kernels without hyper-parameters, in values moved: about 0.5 ms.
MIN_VALUES_TO_RELEASE = 1 << 18


@intrinsic
def release_gil(typing_context: Context, wanted: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Release the GIL if ``wanted``; returns the token for :func:`reacquire_gil`, 0 if the GIL is kept."""

    def generate(context, builder, signature, arguments):
        token = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(64), 0))
        with builder.if_then(arguments[0], likely=False):
            state = context.get_python_api(builder).save_thread()
            builder.store(builder.ptrtoint(state, ir.IntType(64)), token)
        return builder.load(token)

    return types.int64(types.boolean), generate


@intrinsic
def reacquire_gil(typing_context: Context, token: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Reacquire the GIL if :func:`release_gil` released it."""

    def generate(context, builder, signature, arguments):
        released = builder.icmp_unsigned("!=", arguments[0], ir.Constant(ir.IntType(64), 0))
        with builder.if_then(released, likely=False):
            api = context.get_python_api(builder)
            api.restore_thread(builder.inttoptr(arguments[0], api.voidptr))
        return context.get_dummy_value()

    return types.void(types.int64), generate
