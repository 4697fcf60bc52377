"""Functions of the operating system and of Python that kernels call by address without the GIL."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from numba.core.typing import Context, Signature

_I64 = ir.IntType(64)
# Python's clock behind `time.perf_counter`, by version: nanoseconds, callable without the GIL.
_CLOCKS = ("_PyTime_PerfCounterUnchecked", "_PyTime_GetPerfCounter")


@functools.cache
def get_clock_address() -> int:
    """Return the address of a function that returns ``time.perf_counter_ns()``; 0 if this Python has none."""
    for name in _CLOCKS:
        function = getattr(ctypes.pythonapi, name, None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


@functools.cache
def get_yield_address() -> int:
    """Return the address of the function that offers the core to another thread."""
    function = ctypes.windll.kernel32.SwitchToThread if sys.platform == "win32" else ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@functools.cache
def get_sleep_address() -> int:
    """Return the address of the function that sleeps for a number of microseconds (on Windows: milliseconds)."""
    function = ctypes.windll.kernel32.Sleep if sys.platform == "win32" else ctypes.CDLL(None).usleep
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@intrinsic
def call_system(
    typing_context: Context, address: types.Type, argument: types.Type
) -> tuple[Signature, Callable[..., Any]]:
    """Call a function with one integer, which it may ignore; returns its int64 result, or 0 if ``address`` is 0."""

    def generate(context, builder, signature, arguments):
        result = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))
        with builder.if_then(builder.icmp_unsigned("!=", arguments[0], ir.Constant(_I64, 0))):
            function = builder.inttoptr(arguments[0], ir.FunctionType(_I64, [_I64]).as_pointer())
            value = context.cast(builder, arguments[1], signature.args[1], types.int64)
            builder.store(builder.call(function, [value]), result)
        return builder.load(result)

    return types.int64(types.int64, argument), generate


@intrinsic
def pause(typing_context: Context) -> tuple[Signature, Callable[..., Any]]:
    """Wait some cycles in a spinning loop; processors with several threads per core give the other one precedence."""

    def generate(context, builder, signature, arguments):
        if context.codegen()._tm.triple.startswith(("x86", "i686", "amd64")):
            builder.call(
                cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
                ),
                [],
            )
        return context.get_dummy_value()

    return types.void(), generate
