"""LLVM operations that Numba does not offer: prefetch, bit casts, and sums kept in vector registers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from parsgd.kernels.linear.hyperparams import LANES

if TYPE_CHECKING:
    from numba.core.typing import Context, Signature

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLAGS = ("contract", "reassoc", "nsz")


def _prefetch(locality):
    """Build the intrinsic that prefetches a cache line; ``locality`` 3: into all levels, 2: not into the first."""

    @intrinsic
    def prefetch(typing_context, array, position):
        def generate(context, builder, signature, arguments):
            array_type = signature.args[0]
            data = context.make_array(array_type)(context, builder, arguments[0]).data
            offset = context.cast(builder, arguments[1], signature.args[1], types.intp)
            address = builder.bitcast(builder.gep(data, [offset]), ir.IntType(8).as_pointer())
            function_type = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
            function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
            # read access, locality, data cache
            builder.call(function, [address, _I32(0), _I32(locality), _I32(1)])
            return context.get_dummy_value()

        return types.void(array, position), generate

    return prefetch


# Prefetch the cache line of ``array[position]``; any position is safe, nothing is read.
prefetch: Callable[..., None] = _prefetch(3)
prefetch_to_second: Callable[..., None] = _prefetch(2)


@intrinsic
def bits_to_float64(typing_context: Context, bits: types.Type) -> tuple[Signature, Callable[..., Any]]:
    """Return the float64 with the bit pattern of the int64 ``bits``."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


def _make_tile(n_vectors, visit):
    """Build the intrinsic that passes over one row for ``n_vectors * LANES`` adjacent outputs.

    Weights are feature-major, so the weights of a feature are contiguous: a few vector loads per feature.  Sums and
    steps stay in registers for the whole row.  Loops compiled by Numba reload and store the sums at every feature,
    which took 2 times as long on 20 classes of news20.  Several features are visited at a time with separate sums,
    because an addition waits 4 cycles for the previous one.

    ``visit`` generates the work per vector and returns two functions: one for each feature and vector, one for the end.
    """
    unroll = max(2, 4 // n_vectors)

    @intrinsic
    def tile(typing_context, x, begin, end, weights, stride, first, values, squares, l1_norms):
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

            def allocate_sums():
                sums = [[cgutils.alloca_once(builder, vector) for _ in range(n_vectors)] for _ in range(unroll)]
                for sum_at in chain.from_iterable(sums):
                    builder.store(ir.Constant(vector, [0.0] * LANES), sum_at)
                return sums

            def add_to(sum_at, value):
                builder.store(builder.fadd(builder.load(sum_at), value, _FLAGS), sum_at)

            def flush(sums, argument):
                at = base(signature.args[argument], arguments[argument])
                for v, offset in enumerate(offsets):
                    total = builder.load(sums[0][v])
                    for others in sums[1:]:
                        total = builder.fadd(total, builder.load(others[v]), _FLAGS)
                    store(total, pointer(at, offset))

            values_at = base(signature.args[6], arguments[6])
            visit_vector, finish = visit(
                builder, vector, load, store, pointer, allocate_sums, add_to, flush, values_at, offsets
            )

            def visit_feature(position, turn):
                number = builder.load(builder.gep(data, [position]))
                if sparse:
                    feature = builder.load(builder.gep(indices, [position]))
                    if index_type.dtype.bitwidth < 64:
                        feature = builder.zext(feature, _I64)
                else:
                    feature = builder.sub(position, arguments[1])
                row = builder.gep(weights_at, [builder.mul(feature, arguments[4])])
                undefined = ir.Constant(vector, ir.Undefined)
                broadcast = builder.shuffle_vector(
                    builder.insert_element(undefined, number, _I32(0)),
                    undefined,
                    ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES),
                )
                for v in range(n_vectors):
                    visit_vector(turn, v, broadcast, pointer(row, offsets[v]))

            count = builder.sub(arguments[2], arguments[1])
            whole = builder.add(arguments[1], builder.and_(count, _I64(-unroll)))
            with cgutils.for_range_slice(builder, arguments[1], whole, _I64(unroll), _I64) as (position, _):
                for turn in range(unroll):
                    visit_feature(builder.add(position, _I64(turn)), turn)
            with cgutils.for_range_slice(builder, whole, arguments[2], _I64(1), _I64) as (position, _):
                visit_feature(position, 0)
            finish()
            return context.get_dummy_value()

        return types.void(
            x, types.uint64, types.uint64, weights, types.uint64, types.uint64, values, squares, l1_norms
        ), generate

    return tile


def _dot(builder, vector, load, store, pointer, allocate_sums, add_to, flush, values_at, offsets):
    sums = allocate_sums()

    def visit_vector(turn, v, broadcast, at):
        add_to(sums[turn][v], builder.fmul(broadcast, load(at), _FLAGS))

    return visit_vector, lambda: flush(sums, 6)


def _add(builder, vector, load, store, pointer, allocate_sums, add_to, flush, values_at, offsets):
    steps = [load(pointer(values_at, offset)) for offset in offsets]

    def visit_vector(turn, v, broadcast, at):
        store(builder.fadd(load(at), builder.fmul(broadcast, steps[v], _FLAGS), _FLAGS), at)

    return visit_vector, lambda: None


def _add_with_norms(builder, vector, load, store, pointer, allocate_sums, add_to, flush, values_at, offsets):
    steps = [load(pointer(values_at, offset)) for offset in offsets]
    squares, l1_norms = allocate_sums(), allocate_sums()
    zero = ir.Constant(vector, [0.0] * LANES)

    def visit_vector(turn, v, broadcast, at):
        weight = builder.fadd(load(at), builder.fmul(broadcast, steps[v], _FLAGS), _FLAGS)
        store(weight, at)
        add_to(squares[turn][v], builder.fmul(weight, weight, _FLAGS))
        negative = builder.fcmp_ordered("<", weight, zero)
        add_to(l1_norms[turn][v], builder.select(negative, builder.fneg(weight), weight))

    def finish():
        flush(squares, 7)
        flush(l1_norms, 8)

    return visit_vector, finish


@intrinsic
def sparse_dot(
    typing_context: Context,
    data: types.Type,
    indices: types.Type,
    begin: types.Type,
    end: types.Type,
    weights: types.Type,
) -> tuple[Signature, Callable[..., Any]]:
    """Return the product of the row at ``begin:end`` of a CSR matrix and the weights of one output.

    It is scalar code with four sums.  LLVM's own choice, gathering eight weights at a time, took 1.6 times as long; a
    single sum would make each addition wait for the previous one.
    """
    unroll = 4

    def generate(context, builder, signature, arguments):
        scalar = context.get_value_type(signature.return_type)
        numbers, features, weights_at = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 1, 4)
        )
        narrow = signature.args[1].dtype.bitwidth < 64
        sums = [cgutils.alloca_once(builder, scalar) for _ in range(unroll)]
        for sum_at in sums:
            builder.store(ir.Constant(scalar, 0.0), sum_at)

        def visit(position, sum_at):
            feature = builder.load(builder.gep(features, [position]))
            feature = builder.zext(feature, _I64) if narrow else feature
            number = builder.load(builder.gep(numbers, [position]))
            product = builder.fmul(number, builder.load(builder.gep(weights_at, [feature])), ("contract",))
            builder.store(builder.fadd(builder.load(sum_at), product, ("contract",)), sum_at)

        whole = builder.add(arguments[2], builder.and_(builder.sub(arguments[3], arguments[2]), _I64(-unroll)))
        with cgutils.for_range_slice(builder, arguments[2], whole, _I64(unroll), _I64) as (position, _):
            for turn in range(unroll):
                visit(builder.add(position, _I64(turn)), sums[turn])
        with cgutils.for_range_slice(builder, whole, arguments[3], _I64(1), _I64) as (position, _):
            visit(position, sums[0])
        totals = list(map(builder.load, sums))
        return reduce(builder.fadd, totals)

    return data.dtype(data, indices, types.uint64, types.uint64, weights), generate


def _make_row_pass(name):
    """Build the intrinsic that passes over one dense row and the weights of one output, ``LANES`` at a time.

    The weights must be padded with zeros to whole vectors; the end of the row is loaded under a mask.  Loops compiled
    by Numba leave up to 31 of 54 features to scalar code, which took 2 times as long.
    """

    @intrinsic
    def row(typing_context, data, begin, count, step, weights):
        number = data.dtype
        result = {"dot": number, "add": types.void, "add_measured": types.UniTuple(number, 2)}[name]

        def generate(context, builder, signature, arguments):
            scalar = context.get_value_type(number)
            width = context.get_abi_sizeof(scalar)
            vector = ir.VectorType(scalar, LANES)
            zero = ir.Constant(vector, [0.0] * LANES)
            numbers = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            numbers = builder.gep(numbers, [arguments[1]])
            weights_at = context.make_array(signature.args[4])(context, builder, arguments[4]).data
            sums = [cgutils.alloca_once(builder, vector) for _ in range(4)]
            for sum_at in sums:
                builder.store(zero, sum_at)

            def pointer(at, offset):
                return builder.bitcast(builder.gep(at, [offset]), vector.as_pointer())

            def broadcast(value):
                undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
                first = builder.insert_element(undefined, value, _I32(0))
                return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))

            def add_to(sum_at, value):
                builder.store(builder.fadd(builder.load(sum_at), value, _FLAGS), sum_at)

            def total(first, second):
                value = builder.fadd(builder.load(first), builder.load(second), _FLAGS)
                function_type = ir.FunctionType(scalar, [scalar, vector])
                reduce = cgutils.get_or_insert_function(
                    builder.module, function_type, f"llvm.vector.reduce.fadd.v{LANES}f{8 * width}"
                )
                return builder.call(reduce, [ir.Constant(scalar, 0.0), value], fastmath=_FLAGS)

            steps = broadcast(arguments[3])

            def visit(x, offset, sums):
                at = pointer(weights_at, offset)
                weight = builder.load(at)
                weight.align = width
                if name == "dot":
                    add_to(sums[0], builder.fmul(x, weight, _FLAGS))
                    return
                weight = builder.fadd(weight, builder.fmul(x, steps, _FLAGS), _FLAGS)
                builder.store(weight, at).align = width
                if name == "add_measured":
                    add_to(sums[0], builder.fmul(weight, weight, _FLAGS))
                    negative = builder.fcmp_ordered("<", weight, zero)
                    add_to(sums[1], builder.select(negative, builder.fneg(weight), weight))

            whole = builder.and_(arguments[2], _I64(-LANES))
            twos = builder.and_(arguments[2], _I64(-2 * LANES))

            def visit_whole(offset, sums):
                x = builder.load(pointer(numbers, offset))
                x.align = width
                visit(x, offset, sums)

            # two vectors at a time into separate sums, which halves the chain of dependent additions
            with cgutils.for_range_slice(builder, _I64(0), twos, _I64(2 * LANES), _I64) as (offset, _):
                visit_whole(offset, sums[:2])
                visit_whole(builder.add(offset, _I64(LANES)), sums[2:])
            with builder.if_then(builder.icmp_unsigned("<", twos, whole)):
                visit_whole(twos, sums[:2])
            with builder.if_then(builder.icmp_unsigned("<", whole, arguments[2])):
                lanes = ir.Constant(ir.VectorType(_I64, LANES), list(range(LANES)))
                mask = builder.icmp_unsigned("<", lanes, broadcast(builder.sub(arguments[2], whole)))
                function_type = ir.FunctionType(vector, [vector.as_pointer(), _I32, mask.type, vector])
                masked = cgutils.get_or_insert_function(
                    builder.module, function_type, f"llvm.masked.load.v{LANES}f{8 * width}.p0"
                )
                visit(builder.call(masked, [pointer(numbers, whole), _I32(width), mask, zero]), whole, sums[2:])
            if name == "dot":
                return total(sums[0], sums[2])
            if name == "add_measured":
                return context.make_tuple(builder, signature.return_type, [total(sums[i], sums[i + 2]) for i in (0, 1)])
            return context.get_dummy_value()

        return result(data, types.uint64, types.uint64, number, weights), generate

    return row


dense_dot: Callable[..., float] = _make_row_pass("dot")
dense_add: Callable[..., None] = _make_row_pass("add")
dense_add_with_norms: Callable[..., tuple[float, float]] = _make_row_pass("add_measured")

# One pass over the row serves up to 4 vectors: 32 outputs in 4 registers of 8 float32.
dot_tiles: tuple[Callable[..., None], ...] = tuple(_make_tile(n, _dot) for n in (1, 2, 3, 4))
add_tiles: tuple[Callable[..., None], ...] = tuple(_make_tile(n, _add) for n in (1, 2, 3, 4))
add_with_norms_tiles: tuple[Callable[..., None], ...] = tuple(_make_tile(n, _add_with_norms) for n in (1, 2, 3, 4))
