"""A run of steps of a feed-forward network: a batch goes through as one matrix product a layer, forward and backward.

For a batch of ``b`` rows, weights ``W_l (i, o)`` and biases ``c_l (o,)``, layers l = 1 .. L::

    forward    A_0 = rows;  A_l = act(A_{l-1} W_l + c_l)
    errors     D_L = p - y (weighted);  D_{l-1} = (D_l W_l^T) * act'(A_{l-1})
    gradients  A_{l-1}^T D_l  and the column sums of D_l, over the sum of the weights of the batch
    step       W_l = W_l - eta (gradient + alpha / b W_l), or what the solver makes of it

With plain SGD the step *is* the third product: BLAS computes ``W = beta W + alpha A^T D`` in place, so no gradient is
ever stored.  The other solvers take the gradient in blocks of rows that fit the second-level cache, and step along each
block while it is there.  Nothing is allocated.

All parameters lie in one flat array: for each layer W row by row, then c, each layer beginning on a whole vector.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from parsgd.kernels.activations import mask_key
from parsgd.kernels.blas import address, backward_product, forward_product, outer_product
from parsgd.kernels.compiling import INLINE, called, inlined, kernel
from parsgd.kernels.gil import release_gil, take_gil
from parsgd.kernels.intrinsics import prefetch_to_second
from parsgd.kernels.outputs import errors_of
from parsgd.kernels.routines import call, call_for_sum
from parsgd.kernels.rows import feature, span
from parsgd.kernels.sharing import CLOCK as BOARD_CLOCK
from parsgd.kernels.sharing import OWN, close_board, open_again, open_board
from parsgd.kernels.sharing import SCALE as BOARD_SCALE
from parsgd.kernels.solvers import squares

U = np.uint64
_LINE_BYTES = 64


class Plan(NamedTuple):
    """Where things lie; all int64.

    ``sizes`` ``(L + 1,)``: units of the layers.  ``blocks`` ``(L,)``: where each layer's weights begin among the
    parameters.  ``places`` ``(L + 3,)``: where each layer's values begin in a batch's room, and two places for errors.
    """

    sizes: np.ndarray
    blocks: np.ndarray
    places: np.ndarray


class Room(NamedTuple):
    """What one batch needs: values of all layers and two layers' errors, slopes where they are stored, and gradients:
    those of a block of rows, or of all parameters (``whole`` in the recipe)."""

    values: np.ndarray
    slopes: np.ndarray
    gradient: np.ndarray


class NetworkRecipe(NamedTuple):
    """Hyper-parameters as compiled code takes them.

    ``gemm`` is the address of the BLAS function, ``activate``, ``differentiate``, ``drop`` and ``step`` those of
    routines.  ``hyper`` are the solver's momentum, beta1, beta2 and epsilon.
    """

    gemm: int
    activation: int
    activate: int
    differentiate: int
    drop: int
    step: int
    loss: int
    loss_parameter: float
    loss_share: float
    batch_size: int
    alpha: float
    part: float
    shrinkage: float
    eta0: float
    falling: bool
    power_t: float
    seen: float
    rows_per_epoch: float
    steps_per_epoch: float
    hyper: tuple[float, float, float, float]
    clip: float
    keep: float
    seed: int
    shift: int
    moves: bool
    square_every: int
    least_decay: float
    release_from: int
    shared: bool


# What a run carries from call to call, in float64.
(
    CLOCK,  # the step it stands at, from 1 on
    BEGUN,  # the clock at which the fit began
    LOSS,  # sum over the examples of loss and penalty
    SQUARE,  # sum of squares of the weights, without biases
    FIRST_SQUARE,  # the part of the first layer, as stored
    SCALE,  # with sparse rows the first layer's weights are SCALE times what is stored
    GAIN,  # factor on the rate; 0: stand still
    DECAY,  # l2 shrinkage that the weights of dense layers still owe
    OWN_STEPS,  # steps that the run itself made since the last tally
) = range(9)
N_SLOTS = 9
# Rows of the board of workers that step on the same parameters; the last one is the square sum of the first layer's
# weights, scale included.
BOARD_SQUARE = OWN
N_BOARD = OWN + 1
# Below this the first layer's scale is multiplied into its weights.
_TINY_SCALE = 1e-6


def take_rows(x, order, first, rows, values, at):
    """The address of a dense batch ``(rows, n_features)``: in the data, if the rows lie there side by side, else in
    ``values`` at ``at``, where they are gathered.  0 for sparse rows."""
    raise NotImplementedError("only inside compiled code")


def ask_for_rows(x, order, first, last):
    """Prefetch the dense rows ``order[first:last]``, which a later batch will read."""
    raise NotImplementedError("only inside compiled code")


def first_product(recipe, x, order, first, rows, i, o, a, w, block, scale, values, at):
    """The products of the first layer."""
    raise NotImplementedError("only inside compiled code")


def _sparse(x) -> bool:
    return "indices" in x.fields


@overload(take_rows, jit_options=INLINE)
def _take_rows(x, order, first, rows, values, at):
    if _sparse(x):
        return lambda x, order, first, rows, values, at: 0

    def implementation(x, order, first, rows, values, at):
        n = U(x.n_features)
        begin = U(order[U(first)])
        neighbours = True
        for r in range(U(rows)):
            neighbours &= U(order[U(first) + r]) == begin + r
        if neighbours:
            return address(x.data, begin * n)
        for r in range(U(rows)):
            source = U(order[U(first) + r]) * n
            target = U(at) + r * n
            for j in range(n):
                values[target + j] = x.data[source + j]
        return address(values, at)

    return implementation


@overload(ask_for_rows, jit_options=INLINE)
def _ask_for_rows(x, order, first, last):
    if _sparse(x):
        return lambda x, order, first, last: None
    stride = U(_LINE_BYTES // (x.types[0].dtype.bitwidth // 8))

    def implementation(x, order, first, last):
        n = U(x.n_features)
        for p in range(U(first), U(last)):
            begin = U(order[p]) * n
            for position in range(begin, begin + n, stride):
                prefetch_to_second(x.data, position)

    return implementation


@overload(first_product, jit_options=INLINE)
def _first_product(recipe, x, order, first, rows, i, o, a, w, block, scale, values, at):
    if not _sparse(x):

        def implementation(recipe, x, order, first, rows, i, o, a, w, block, scale, values, at):
            forward_product(recipe.gemm, rows, i, o, w.dtype.type(1), a, address(w, block), address(values, at))

        return implementation

    def implementation(recipe, x, order, first, rows, i, o, a, w, block, scale, values, at):
        number = w.dtype.type
        for r in range(U(rows)):
            target = U(at) + r * U(o)
            for j in range(U(o)):
                values[target + j] = number(0)
            begin, end = span(x, order[U(first) + r])
            for position in range(begin, end):
                c = number(scale) * x.data[position]
                source = U(block) + feature(x, position, begin) * U(o)
                for j in range(U(o)):
                    values[target + j] += c * w[source + j]

    return implementation


def sparse_outer(x, order, first, rows, o, alpha, errors, e, target, block):
    """``target[feature] += alpha * value * error`` for the stored values of sparse rows; how much the sum of squares of
    what was touched grew."""
    raise NotImplementedError("only inside compiled code")


@overload(sparse_outer, jit_options=INLINE)
def _sparse_outer(x, order, first, rows, o, alpha, errors, e, target, block):
    if not _sparse(x):
        return lambda x, order, first, rows, o, alpha, errors, e, target, block: 0.0

    def implementation(x, order, first, rows, o, alpha, errors, e, target, block):
        grown = 0.0
        for r in range(U(rows)):
            source = U(e) + r * U(o)
            begin, end = span(x, order[U(first) + r])
            for position in range(begin, end):
                c = alpha * x.data[position]
                at = U(block) + feature(x, position, begin) * U(o)
                more = target.dtype.type(0)
                for j in range(U(o)):
                    before = target[at + j]
                    after = before + c * errors[source + j]
                    target[at + j] = after
                    more += after * after - before * before
                grown += more
        return grown

    return implementation


def is_sparse(x):
    """Whether rows come in CSR."""
    raise NotImplementedError("only inside compiled code")


@overload(is_sparse, jit_options=INLINE)
def _is_sparse(x):
    sparse = _sparse(x)
    return lambda x: sparse


@called
def column_sums(values, e, rows, o, target, at, factor):
    """``target += factor * column sums`` of errors ``(rows, o)`` at ``e``."""
    for r in range(U(rows)):
        begin = U(e) + r * U(o)
        for j in range(U(o)):
            target[U(at) + j] += factor * values[begin + j]


@called
def fill_zeros(target, at, n):
    """``target[at:at + n] = 0``."""
    for i in range(U(n)):
        target[U(at) + i] = target.dtype.type(0)


@called
def step_at_once(recipe, x, order, position, rows, i, o, a, values, e, w, block, share, eta, shrink, sparse, carry):
    """Plain SGD on the weights of a layer: the gradient's product is the step."""
    number = w.dtype.type
    if not sparse:
        outer_product(
            recipe.gemm, rows, i, o, number(-eta / share), a, i, address(values, e), number(shrink), address(w, block)
        )
        return
    # only the rows of W that the batch touches are moved; all of them shrink, by the scale
    shrink = 1.0 - eta * recipe.alpha / share
    if recipe.shared:
        # others are using the weights; whoever finds the scale tiny before the next batch waits for them and folds it
        carry[SCALE] *= max(shrink, _TINY_SCALE)
    elif shrink < 0.5 or carry[SCALE] < _TINY_SCALE:
        scale = number(carry[SCALE] * shrink)
        for k in range(U(i * o)):
            w[U(block) + k] *= scale
        carry[FIRST_SQUARE] *= float(scale) * float(scale)
        carry[SCALE] = 1.0
    else:
        carry[SCALE] *= shrink
    alpha = number(-eta / share / carry[SCALE])
    carry[FIRST_SQUARE] += sparse_outer(x, order, position, rows, o, alpha, values, e, w, block)


@called
def gather_gradient(recipe, x, order, position, rows, i, o, a, values, e, gradient, block, sparse):
    """The summed gradients of a whole layer, weights and bias."""
    one = gradient.dtype.type(1)
    if sparse:
        fill_zeros(gradient, block, i * o)
        sparse_outer(x, order, position, rows, o, one, values, e, gradient, block)
    else:
        outer_product(recipe.gemm, rows, i, o, one, a, i, address(values, e), one - one, address(gradient, block))
    fill_zeros(gradient, block + i * o, o)
    column_sums(values, e, rows, o, gradient, block + i * o, one)


@called
def step_in_blocks(recipe, rows, i, o, a, values, e, w, first, second, gradient, block, share, eta, t):
    """The gradient of a few rows of W at a time, and the step along it while it is in the cache; the squares of W."""
    number = w.dtype.type
    one = number(1)
    width = address(w, 1) - address(w, 0)
    height = max(1, gradient.shape[0] // o)
    total = 0.0
    row = 0
    while row < i:
        h = min(height, i - row)
        outer_product(
            recipe.gemm, rows, h, o, one, a + row * width, i, address(values, e), one - one, address(gradient, 0)
        )
        total += call_for_sum(recipe.step, (
            w, first, second, gradient, block + row * o, 0, h * o, 1.0 / share, recipe.alpha / share,
            recipe.shrinkage, eta, t, recipe.hyper,
        ))  # fmt: skip
        row += h
    fill_zeros(gradient, 0, o)
    column_sums(values, e, rows, o, gradient, 0, one)
    call_for_sum(
        recipe.step, (w, first, second, gradient, block + i * o, 0, o, 1.0 / share, 0.0, 0.0, eta, t, recipe.hyper)
    )
    return total


@called
def step_whole(recipe, plan, w, first, second, gradient, share, eta, t):
    """The step along gradients that were all gathered before, clipped to the length ``clip``; the squares of W."""
    factor = 1.0 / share
    if recipe.clip > 0.0:
        total = 0.0
        for layer in range(plan.blocks.shape[0]):
            total += squares(gradient, plan.blocks[layer], (plan.sizes[layer] + 1) * plan.sizes[layer + 1])
        length = np.sqrt(total) * factor
        if length > recipe.clip:
            factor *= recipe.clip / length
    square = 0.0
    for layer in range(plan.blocks.shape[0]):
        i, o, block = plan.sizes[layer], plan.sizes[layer + 1], plan.blocks[layer]
        square += call_for_sum(recipe.step, (
            w, first, second, gradient, block, block, i * o, factor, recipe.alpha / share, recipe.shrinkage, eta, t,
            recipe.hyper,
        ))  # fmt: skip
        bias = block + i * o
        call_for_sum(
            recipe.step, (w, first, second, gradient, bias, bias, o, factor, 0.0, 0.0, eta, t, recipe.hyper)
        )
    return square


@called
def sum_of_squares(plan, w, sparse, first_square, scale):
    """Of all weights, without biases."""
    total = 0.0
    for layer in range(plan.blocks.shape[0]):
        if sparse and layer == 0:
            total += scale * scale * first_square
        else:
            total += squares(w, plan.blocks[layer], plan.sizes[layer] * plan.sizes[layer + 1])
    return total


@inlined
def learning_rate(recipe, carry):
    """The rate of the next step."""
    eta = recipe.eta0 * carry[GAIN]
    if recipe.falling:
        epoch = np.floor((carry[CLOCK] - carry[BEGUN]) / recipe.steps_per_epoch)
        eta /= (1.0 + recipe.seen + epoch * recipe.rows_per_epoch) ** recipe.power_t
    return eta


@inlined
def forward(recipe, x, y, weight, order, position, rows, a0, w, values, slopes, plan, carry):
    """A batch's way up: values of the hidden layers, errors in the place of the last one's; the loss."""
    layers = plan.blocks.shape[0]
    for layer in range(layers):
        i, o, block = plan.sizes[layer], plan.sizes[layer + 1], plan.blocks[layer]
        at = plan.places[layer + 1]
        if layer == 0:
            first_product(recipe, x, order, position, rows, i, o, a0, w, block, carry[SCALE], values, at)
        else:
            source = address(values, plan.places[layer])
            forward_product(recipe.gemm, rows, i, o, w.dtype.type(1), source, address(w, block), address(values, at))
        if layer < layers - 1:
            call(recipe.activate, (values, slopes, at, rows, o, w, block + i * o))
            if recipe.keep < 1.0:
                key = mask_key(recipe.seed, carry[CLOCK], layer)
                call(
                    recipe.drop,
                    (recipe.activation, recipe.keep, key, recipe.shift * o, values, slopes, at, rows * o),
                )
    i, o = plan.sizes[layers - 1], plan.sizes[layers]
    bias = plan.blocks[layers - 1] + i * o
    return errors_of(
        recipe.loss, recipe.loss_parameter, y, order, position, rows, o, weight, w, bias, values, plan.places[layers]
    )  # fmt: skip


def make_backward(fused, whole):
    """Make a batch's way down.

    ``fused``: plain SGD, whose gradient's product is the step.  ``whole``: all gradients are gathered before the step.
    Otherwise the gradient is taken in blocks.
    """

    @inlined
    def backward(
        recipe, x, order, position, rows, a0, w, first, second, values, slopes, gradient, plan, share, eta, carry
    ):  # fmt: skip
        """Errors of the hidden layers, and each layer's step as soon as its errors are passed on."""
        layers = plan.blocks.shape[0]
        sparse = is_sparse(x)
        one = w.dtype.type(1)
        square = 0.0
        # 1 - decay is rounded to the type of the weights: in float32 decays are collected until they are well above
        shrink = 1.0
        if fused:
            carry[DECAY] += eta * recipe.alpha / share
        if carry[DECAY] >= recipe.least_decay:
            shrink = 1.0 - carry[DECAY]
            carry[DECAY] = 0.0
        e = plan.places[layers]
        for back in range(layers):
            layer = layers - 1 - back
            i, o, block = plan.sizes[layer], plan.sizes[layer + 1], plan.blocks[layer]
            # the last layer's errors stand in the place of its values; those of the others alternate between two places
            before = plan.places[layers + 1 + (back & 1)]
            a = a0
            if layer > 0:
                a = address(values, plan.places[layer])
                backward_product(
                    recipe.gemm, rows, i, o, one, address(values, e), address(w, block), address(values, before)
                )
                call(recipe.differentiate, (values, slopes, before, plan.places[layer], rows * i))
            if fused:
                step_at_once(
                    recipe, x, order, position, rows, i, o, a, values, e, w, block, share, eta, shrink,
                    sparse and layer == 0, carry,
                )  # fmt: skip
                column_sums(values, e, rows, o, w, block + i * o, w.dtype.type(-eta / share))
            elif whole:
                gather_gradient(
                    recipe, x, order, position, rows, i, o, a, values, e, gradient, block, sparse and layer == 0
                )
            else:
                square += step_in_blocks(
                    recipe, rows, i, o, a, values, e, w, first, second, gradient, block, share, eta, carry[CLOCK]
                )
            e = before
        if whole and recipe.moves:
            square = step_whole(recipe, plan, w, first, second, gradient, share, eta, carry[CLOCK])
        if not fused and recipe.moves:
            carry[SQUARE] = square

    return backward


_backward_fused, _backward_whole, _backward_blocks = (
    make_backward(True, False), make_backward(False, True), make_backward(False, False),
)  # fmt: skip


@called
def take_from_board(board, w, plan, carry):
    """What all workers share besides the parameters, at the beginning of a batch."""
    open_board(board, w[: plan.sizes[0] * plan.sizes[1]], 1, _TINY_SCALE)
    carry[CLOCK], carry[SCALE] = board[BOARD_CLOCK, 0], board[BOARD_SCALE, 0]
    carry[FIRST_SQUARE] = board[BOARD_SQUARE, 0] / carry[SCALE] ** 2
    close_board(board)


@called
def add_to_board(board, scale, square, carry):
    """What one batch moved of it; ``scale`` and ``square`` stood in the carry when it began."""
    open_again(board)
    board[BOARD_CLOCK, 0] += 1.0
    board[BOARD_SCALE, 0] *= carry[SCALE] / scale
    board[BOARD_SQUARE, 0] += carry[FIRST_SQUARE] * carry[SCALE] ** 2 - square * scale**2
    # the last worker to leave knows where all of them arrived
    carry[CLOCK] = board[BOARD_CLOCK, 0]
    close_board(board)


def make_descend(fused, whole, shared):
    """Make the run of a network; see :func:`make_backward`.  ``shared``: on parameters that others step on, too."""

    @kernel
    def descend(x, y, weight, order, start, stop, w, first, second, room, plan, recipe, carry, board):
        """Visit ``order[start:stop]`` in batches; updates the parameters ``w``, the slots ``first`` and ``second`` (or
        empty), and ``carry``.  Unless ``recipe.moves`` it takes no step, but leaves the summed gradients of the last
        batch in ``room.gradient``.  ``board``: what is shared with workers that step on the same parameters, if
        ``recipe.shared``."""
        # a step of a small network takes some microseconds, whatever its size
        token = release_gil((stop - start) * (w.shape[0] // 8 + 64) >= recipe.release_from)
        values, slopes, gradient = room.values, room.slopes, room.gradient
        position = start
        while position < stop:
            if shared:
                take_from_board(board, w, plan, carry)
            scale, first_square = carry[SCALE], carry[FIRST_SQUARE]
            rows = min(recipe.batch_size, stop - position)
            eta = learning_rate(recipe, carry)
            share = float(rows)
            if weight.shape[0] > 0:
                share = 0.0
                for r in range(U(rows)):
                    share += weight[U(order[U(position) + r])]
            if fused and recipe.alpha > 0.0 and np.int64(carry[CLOCK]) % recipe.square_every == 0:
                carry[SQUARE] = sum_of_squares(plan, w, is_sparse(x), carry[FIRST_SQUARE], carry[SCALE])
            a0 = take_rows(x, order, position, rows, values, plan.places[0])
            # the next batch comes from memory while this one is computed
            ask_for_rows(x, order, position + rows, min(position + rows + recipe.batch_size, order.shape[0]))
            loss = forward(recipe, x, y, weight, order, position, rows, a0, w, values, slopes, plan, carry)
            if share > 0.0:
                penalty = 0.5 * recipe.alpha * recipe.part * carry[SQUARE]
                carry[LOSS] += (loss * recipe.loss_share + penalty) / share * rows
                if carry[GAIN] > 0.0:
                    if fused:
                        _backward_fused(
                            recipe, x, order, position, rows, a0, w, first, second, values, slopes, gradient, plan,
                            share, eta, carry,
                        )  # fmt: skip
                    elif whole:
                        _backward_whole(
                            recipe, x, order, position, rows, a0, w, first, second, values, slopes, gradient, plan,
                            share, eta, carry,
                        )  # fmt: skip
                    else:
                        _backward_blocks(
                            recipe, x, order, position, rows, a0, w, first, second, values, slopes, gradient, plan,
                            share, eta, carry,
                        )  # fmt: skip
            carry[CLOCK] += 1.0
            carry[OWN_STEPS] += 1.0
            if shared:
                add_to_board(board, scale, first_square, carry)
            position += rows
        take_gil(token)

    return descend


# By what a fit needs: (fused, whole, shared).
DESCEND = {
    (fused, whole, shared): make_descend(fused, whole, shared)
    for fused, whole in ((True, False), (False, True), (False, False))
    for shared in (False, True)
}


@kernel
def step_network(w, first, second, gradient, plan, recipe, carry, share):
    """One step along summed gradients ``(n_parameters,)`` of examples that together weigh ``share``."""
    token = release_gil(w.shape[0] >= recipe.release_from)
    step_whole(recipe, plan, w, first, second, gradient, share, learning_rate(recipe, carry), carry[CLOCK])
    take_gil(token)
