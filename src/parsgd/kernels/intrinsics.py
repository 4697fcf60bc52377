"""Three things that LLVM can do and numba has no word for: prefetch, reinterpret bits, keep a tile in registers."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLAGS = ("contract", "reassoc", "nsz")


@intrinsic
def prefetch(typing_context, array, position):
    """Ask the memory system for the line that holds ``array[position]``; reads nothing, may point anywhere."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        offset = context.cast(builder, arguments[1], signature.args[1], types.intp)
        address = builder.bitcast(builder.gep(data, [offset]), ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        # read access, keep in all cache levels, data cache
        builder.call(function, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, position), generate


@intrinsic
def bits_to_float64(typing_context, bits):
    """The float64 whose bit pattern is the int64 ``bits``."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


def _tile(n_vectors, visit):
    """Build the intrinsic that passes over one row for ``n_vectors * LANES`` neighbouring outputs.

    The weights are feature-major, so the outputs of a feature are contiguous: each feature is a few vector loads, and
    what is summed or spread stays in registers for the whole row.  Numba's own loops reload and store the sums at every
    feature, which measured 2.4 times slower on 20 classes (benchmarks/linear.py).
    """

    @intrinsic
    def tile(typing_context, x, begin, end, weights, stride, first, values, squares, absolutes):
        def generate(context, builder, signature, arguments):
            x_type, weight_type = signature.args[0], signature.args[3]
            scalar = context.get_value_type(weight_type.dtype)
            vector = ir.VectorType(scalar, LANES)
            width = context.get_abi_sizeof(scalar)
            fields = [builder.extract_value(arguments[0], i) for i in range(len(x_type))]

            def base(array_type, value):
                return context.make_array(array_type)(context, builder, value).data

            data = base(x_type.types[0], fields[0])
            sparse = "indices" in x_type.fields
            if sparse:
                index_type = x_type.types[1]
                indices = base(index_type, fields[1])
            weights_at = base(weight_type, arguments[3])
            offsets = [builder.add(arguments[5], _I64(LANES * v)) for v in range(n_vectors)]

            def pointer(at, offset):
                return builder.bitcast(builder.gep(at, [offset]), vector.as_pointer())

            def load(at):
                value = builder.load(at)
                value.align = width
                return value

            def store(value, at):
                builder.store(value, at).align = width

            def accumulators():
                slots = [cgutils.alloca_once(builder, vector) for _ in range(n_vectors)]
                for slot in slots:
                    builder.store(ir.Constant(vector, [0.0] * LANES), slot)
                return slots

            def add_to(slot, value):
                builder.store(builder.fadd(builder.load(slot), value, _FLAGS), slot)

            def flush(slots, argument):
                at = base(signature.args[argument], arguments[argument])
                for slot, offset in zip(slots, offsets, strict=True):
                    store(builder.load(slot), pointer(at, offset))

            values_at = base(signature.args[6], arguments[6])
            tools = visit(builder, vector, load, store, pointer, accumulators, add_to, flush, values_at, offsets)
            each, finish = tools
            with cgutils.for_range_slice(builder, arguments[1], arguments[2], _I64(1), _I64) as (position, _):
                number = builder.load(builder.gep(data, [position]))
                if sparse:
                    feature = builder.load(builder.gep(indices, [position]))
                    if index_type.dtype.bitwidth < 64:
                        feature = builder.zext(feature, _I64)
                else:
                    feature = builder.sub(position, arguments[1])
                row = builder.gep(weights_at, [builder.mul(feature, arguments[4])])
                undefined = ir.Constant(vector, ir.Undefined)
                spread = builder.shuffle_vector(
                    builder.insert_element(undefined, number, _I32(0)),
                    undefined,
                    ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES),
                )
                for v in range(n_vectors):
                    each(v, spread, pointer(row, offsets[v]))
            finish()
            return context.get_dummy_value()

        return types.void(x, types.uint64, types.uint64, weights, types.uint64, types.uint64, values, squares,
                          absolutes), generate

    return tile


def _dot(builder, vector, load, store, pointer, accumulators, add_to, flush, values_at, offsets):
    sums = accumulators()

    def each(v, spread, at):
        add_to(sums[v], builder.fmul(spread, load(at), _FLAGS))

    return each, lambda: flush(sums, 6)


def _add(builder, vector, load, store, pointer, accumulators, add_to, flush, values_at, offsets):
    steps = [load(pointer(values_at, offset)) for offset in offsets]

    def each(v, spread, at):
        store(builder.fadd(load(at), builder.fmul(spread, steps[v], _FLAGS), _FLAGS), at)

    return each, lambda: None


def _add_measured(builder, vector, load, store, pointer, accumulators, add_to, flush, values_at, offsets):
    steps = [load(pointer(values_at, offset)) for offset in offsets]
    squares, absolutes = accumulators(), accumulators()
    zero = ir.Constant(vector, [0.0] * LANES)

    def each(v, spread, at):
        weight = builder.fadd(load(at), builder.fmul(spread, steps[v], _FLAGS), _FLAGS)
        store(weight, at)
        add_to(squares[v], builder.fmul(weight, weight, _FLAGS))
        negative = builder.fcmp_ordered("<", weight, zero)
        add_to(absolutes[v], builder.select(negative, builder.fneg(weight), weight))

    def finish():
        flush(squares, 7)
        flush(absolutes, 8)

    return each, finish


# One pass over the row serves up to 4 vectors: 32 outputs in 4 registers of 8 float32.
dot_tiles = tuple(_tile(n, _dot) for n in (1, 2, 3, 4))
add_tiles = tuple(_tile(n, _add) for n in (1, 2, 3, 4))
add_measured_tiles = tuple(_tile(n, _add_measured) for n in (1, 2, 3, 4))


def padded(n_outputs: int) -> int:
    """The number of outputs rounded up to whole vectors.

    >>> padded(20)
    24
    """
    return int(np.ceil(n_outputs / LANES)) * LANES
