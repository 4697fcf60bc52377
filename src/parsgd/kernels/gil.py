"""The GIL inside kernels: released for long calls, kept for short ones.

Beside a busy Python thread, a call that gives the GIL away gets it back after Python's switch interval, 5 ms: a hundred
times what a small fit takes.  So a kernel releases it only where its work is long enough (:func:`release_gil`), or
where the worker is one of several, whose kernels are to run side by side.

Between :func:`release_gil` and :func:`take_gil` a kernel must not raise.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from parsgd.kernels.compiling import INLINE

# The least work of a kernel that has no hyper-parameters to say it, in numbers moved: about half a millisecond.
LONG = 1 << 18


@intrinsic
def release_gil(typing_context, wanted):
    """Release the GIL if ``wanted``; returns what :func:`take_gil` needs, 0 if the GIL is kept."""

    def generate(context, builder, signature, arguments):
        token = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(64), 0))
        with builder.if_then(arguments[0], likely=False):
            state = context.get_python_api(builder).save_thread()
            builder.store(builder.ptrtoint(state, ir.IntType(64)), token)
        return builder.load(token)

    return types.int64(types.boolean), generate


@intrinsic
def take_gil(typing_context, token):
    """Take the GIL back, if :func:`release_gil` gave it away."""

    def generate(context, builder, signature, arguments):
        released = builder.icmp_unsigned("!=", arguments[0], ir.Constant(ir.IntType(64), 0))
        with builder.if_then(released, likely=False):
            api = context.get_python_api(builder)
            api.restore_thread(builder.inttoptr(arguments[0], api.voidptr))
        return context.get_dummy_value()

    return types.void(types.int64), generate


def values_per_row(x):
    """Stored numbers per row, rounded up."""
    raise NotImplementedError("only inside compiled code")


@overload(values_per_row, jit_options=INLINE)
def _values_per_row(x):
    if "indices" in x.fields:
        return lambda x: x.data.shape[0] // max(1, x.indptr.shape[0] - 1) + 1
    return lambda x: x.n_features
