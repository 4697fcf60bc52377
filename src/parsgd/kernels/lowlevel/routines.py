"""Routines: compiled functions that kernels call by address.

Activations, their derivatives and solver steps work on a whole layer at a time.  Each is compiled separately when a fit
first uses it, not again within every kernel that calls it.  A kernel takes the address as an argument, like that of the
BLAS, so it can be cached.  A call costs some nanoseconds, a layer of a batch microseconds.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _make_call(result):
    """Build the intrinsic ``call(address, arguments)`` for routines that return ``result``.

    ``arguments`` is a tuple with the types for which the routine was compiled.
    """

    @intrinsic
    def call_routine(typing_context, address, arguments):
        def generate(context, builder, signature, values):
            passed = []
            for index, argument_type in enumerate(signature.args[1].types):
                value = builder.extract_value(values[1], index)
                passed_type = (
                    types.int64 if isinstance(argument_type, types.IntegerLiteral) else types.unliteral(argument_type)
                )
                passed.append(context.cast(builder, value, argument_type, passed_type))
            returned = ir.VoidType() if result == types.void else context.get_value_type(result)
            if result == types.void:
                # a routine without a result returns None, a pointer
                returned = context.get_value_type(types.none)
            function_type = ir.FunctionType(returned, [value.type for value in passed])
            result_value = builder.call(builder.inttoptr(values[0], function_type.as_pointer()), passed)
            return context.get_dummy_value() if result == types.void else result_value

        return result(types.int64, arguments), generate

    return call_routine


def _make_kernel_call(result):
    """Build the intrinsic ``call(address, arguments)`` for kernels that return ``result``.

    ``address`` is :func:`parsgd.kernels.lowlevel.compiling.kernel_address` for the types of ``arguments``.
    """

    @intrinsic
    def call_kernel(typing_context, address, arguments):
        def generate(context, builder, signature, values):
            convention, types_in = context.call_conv, [types.unliteral(one) for one in signature.args[1].types]
            passed = [
                context.cast(builder, builder.extract_value(values[1], index), given, wanted)
                for index, (given, wanted) in enumerate(zip(signature.args[1].types, types_in, strict=True))
            ]
            function_type = convention.get_function_type(result, types_in)
            function = builder.inttoptr(values[0], function_type.as_pointer())
            _, value = convention.call_function(builder, function, result, types_in, passed)
            return value if result != types.none else context.get_dummy_value()

        return result(types.int64, arguments), generate

    return call_kernel


# For routines without a result, and for those that return a float64.
call_routine: Callable[..., None] = _make_call(types.void)
call_routine_for_sum: Callable[..., float] = _make_call(types.float64)
# For kernels that Python calls too: those without a result, and those that return an int64.
call_kernel: Callable[..., None] = _make_kernel_call(types.none)
call_kernel_for_count: Callable[..., int] = _make_kernel_call(types.int64)
