"""Routines: compiled functions that kernels call by address.

What a network does with a whole layer (an activation, its derivative, a solver's step) is compiled by itself, when a
fit uses it, and not once more within every kernel that calls it.  A kernel takes the address as an argument, as it
takes that of the BLAS, so it can be cached.  The call costs some nanoseconds; a layer of a batch takes microseconds.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _make_call(result):
    """Build the intrinsic ``call(address, arguments)`` of routines that return ``result``.

    ``arguments`` is a tuple, of the types that the routine was compiled for.
    """

    @intrinsic
    def call(typing_context, address, arguments):
        def generate(context, builder, signature, values):
            passed = []
            for place, kind in enumerate(signature.args[1].types):
                value = builder.extract_value(values[1], place)
                wanted = types.int64 if isinstance(kind, types.IntegerLiteral) else types.unliteral(kind)
                passed.append(context.cast(builder, value, kind, wanted))
            returned = ir.VoidType() if result == types.void else context.get_value_type(result)
            if result == types.void:
                # a routine without a result returns None, a pointer
                returned = context.get_value_type(types.none)
            function_type = ir.FunctionType(returned, [value.type for value in passed])
            found = builder.call(builder.inttoptr(values[0], function_type.as_pointer()), passed)
            return context.get_dummy_value() if result == types.void else found

        return result(types.int64, arguments), generate

    return call


# The two kinds of routines there are: those that change arrays, and those that also return a sum.
call, call_for_sum = _make_call(types.void), _make_call(types.float64)
