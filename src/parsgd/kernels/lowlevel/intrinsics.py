"""LLVM operations that Numba does not offer: prefetch, bit casts, and sums kept in vector registers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

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


def _make_tile(visit, n_lanes, n_vectors, masked=False):
    """Build the intrinsic that passes over one row for the adjacent outputs ``first`` to ``last - 1``.

    Weights are feature-major, so the weights of a feature are contiguous: a few vector loads per feature.  Sums and
    steps stay in registers for the whole row.  Loops compiled by Numba reload and store the sums at every feature,
    which took 2 times as long on 20 classes of news20.  Several features are visited at a time with separate sums,
    because an addition waits 4 cycles for the previous one.

    Features are not padded.  The last of several vectors ends with the last output, so it may overlap the one before.
    Both compute the same numbers for a common output.  A single vector is ``masked`` if it may have fewer outputs than
    lanes.  A masked store delays the next load of a nearby address, so this is for many outputs only.

    ``visit`` generates the work and returns two functions: one for each feature, one for the end.
    """
    unroll = max(2, (4 if n_lanes == LANES else 8) // n_vectors)

    @intrinsic
    def tile(typing_context, x, begin, end, weights, stride, first, last, values, squares, l1_norms):
        def generate(context, builder, signature, arguments):
            x_type, weight_type = signature.args[0], signature.args[3]
            scalar = context.get_value_type(weight_type.dtype)
            vector = ir.VectorType(scalar, n_lanes)
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
            first, last = arguments[5], arguments[6]
            offsets = [builder.add(first, _I64(n_lanes * v)) for v in range(n_vectors)]
            if n_vectors > 1:
                offsets[-1] = builder.sub(last, _I64(n_lanes))
            zero = ir.Constant(vector, [0.0] * n_lanes)

            def pointer(at, offset):
                return builder.bitcast(builder.gep(at, [offset]), vector.as_pointer())

            def broadcast(value):
                undefined = ir.Constant(ir.VectorType(value.type, n_lanes), ir.Undefined)
                inserted = builder.insert_element(undefined, value, _I32(0))
                return builder.shuffle_vector(
                    inserted, undefined, ir.Constant(ir.VectorType(_I32, n_lanes), [0] * n_lanes)
                )

            def load(at):
                value = builder.load(at)
                value.align = width
                return value

            def store(value, at):
                builder.store(value, at).align = width

            load_weights, store_weights = load, store
            if masked:
                numbers = ir.Constant(ir.VectorType(_I64, n_lanes), list(range(n_lanes)))
                mask = builder.icmp_unsigned("<", numbers, broadcast(builder.sub(last, first)))
                name = f"v{n_lanes}f{8 * width}.p0"
                types_of_load = [vector.as_pointer(), _I32, mask.type, vector]
                types_of_store = [vector, vector.as_pointer(), _I32, mask.type]
                masked_load = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(vector, types_of_load), f"llvm.masked.load.{name}"
                )
                masked_store = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(ir.VoidType(), types_of_store), f"llvm.masked.store.{name}"
                )

                def load_weights(at):
                    return builder.call(masked_load, [at, _I32(width), mask, zero])

                def store_weights(value, at):
                    builder.call(masked_store, [value, at, _I32(width), mask])

            def allocate_sums():
                sums = [[cgutils.alloca_once(builder, vector) for _ in range(n_vectors)] for _ in range(unroll)]
                for sum_at in chain.from_iterable(sums):
                    builder.store(zero, sum_at)
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

            values_at = base(signature.args[7], arguments[7])
            steps = [load(pointer(values_at, offset)) for offset in offsets]
            visit_weights, finish = visit(builder, zero, steps, store_weights, allocate_sums, add_to, flush)

            def visit_feature(position, turn):
                number = builder.load(builder.gep(data, [position]))
                if sparse:
                    feature = builder.load(builder.gep(indices, [position]))
                    if index_type.dtype.bitwidth < 64:
                        feature = builder.zext(feature, _I64)
                else:
                    feature = builder.sub(position, arguments[1])
                row = builder.gep(weights_at, [builder.mul(feature, arguments[4])])
                addresses = [pointer(row, offset) for offset in offsets]
                # all loads precede the stores, because vectors may overlap
                weights = list(map(load_weights, addresses))
                visit_weights(turn, broadcast(number), weights, addresses)

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
            x, types.uint64, types.uint64, weights, types.uint64, types.uint64, types.uint64, values, squares, l1_norms
        ), generate

    return tile


def _dot(builder, zero, steps, store, allocate_sums, add_to, flush):
    sums = allocate_sums()

    def visit_weights(turn, number, weights, addresses):
        for sum_at, weight in zip(sums[turn], weights, strict=True):
            add_to(sum_at, builder.fmul(number, weight, _FLAGS))

    return visit_weights, lambda: flush(sums, 7)


def _add(builder, zero, steps, store, allocate_sums, add_to, flush):
    def visit_weights(turn, number, weights, addresses):
        for step, weight, at in zip(steps, weights, addresses, strict=True):
            store(builder.fadd(weight, builder.fmul(number, step, _FLAGS), _FLAGS), at)

    return visit_weights, lambda: None


def _add_with_norms(builder, zero, steps, store, allocate_sums, add_to, flush):
    squares, l1_norms = allocate_sums(), allocate_sums()

    def visit_weights(turn, number, weights, addresses):
        for v, (step, old, at) in enumerate(zip(steps, weights, addresses, strict=True)):
            weight = builder.fadd(old, builder.fmul(number, step, _FLAGS), _FLAGS)
            store(weight, at)
            add_to(squares[turn][v], builder.fmul(weight, weight, _FLAGS))
            negative = builder.fcmp_ordered("<", weight, zero)
            add_to(l1_norms[turn][v], builder.select(negative, builder.fneg(weight), weight))

    def finish():
        flush(squares, 8)
        flush(l1_norms, 9)

    return visit_weights, finish


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


class TileSet(NamedTuple):
    """Passes over a row that do the same, for different numbers of outputs."""

    up_to_3: Callable[..., None]
    up_to_7: Callable[..., None]
    exactly_8: Callable[..., None]
    up_to_8: Callable[..., None]
    up_to_16: Callable[..., None]
    up_to_24: Callable[..., None]
    up_to_32: Callable[..., None]


def _make_tiles(visit):
    """Build the passes; one serves up to 4 vectors: 32 outputs in 4 registers of 8 float32."""
    few = (_make_tile(visit, lanes, 2) for lanes in (2, 4))
    one = (_make_tile(visit, LANES, 1, masked) for masked in (False, True))
    return TileSet(*few, *one, *(_make_tile(visit, LANES, n) for n in (2, 3, 4)))


dot_tiles: TileSet = _make_tiles(_dot)
add_tiles: TileSet = _make_tiles(_add)
add_with_norms_tiles: TileSet = _make_tiles(_add_with_norms)
