"""A run of AdaGrad steps of a linear model: each weight has a rate of its own, made by its own gradients.

One step on a batch B, for the weight of feature j and one output (Duchi, Hazan, Singer, "Adaptive Subgradient Methods
for Online Learning and Stochastic Optimization", JMLR 12, 2011, with diagonal matrices)::

    g_j = 1 / |B| sum_i weight_i dloss(y_i, p_i) x_ij            for i in B
    G_j = G_j + g_j^2
    h_j = sqrt(G_j + 1e-20)
    w_j = pay(w_j - eta g_j / h_j,  eta alpha / h_j)

and the intercept likewise, without a penalty.  So a first gradient moves a weight by eta, whatever its size (but where
sums should cancel and rounding leaves some 1e-16); frequent features settle while rare ones still move.

``pay(v, c)`` is where v is when it went down the penalty's own slope, ``-l2 v - l1 sign(v)``, for the time c and no
further than 0; ``l1 = l1_ratio``, ``l2 = 1 - l1_ratio``::

    pay(v, c) = sign(v) max(0, |v| - (1 - e^(-l2 c)) / l2 (l2 |v| + l1))

To the first order this is the paper's proximal step.  It comes to the same in however many parts it is paid, so a
weight whose feature is not in a row pays when it is next wanted, and sparse rows cost no more than their values.  A
weight without a gradient has no rate yet, and owes nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from parsgd.kernels import recipe as slot
from parsgd.kernels.compiling import INLINE, inlined, kernel
from parsgd.kernels.gil import release_gil, take_gil, values_per_row
from parsgd.kernels.losses import SOFTMAX, evaluate, evaluate_outputs, fold_factor, loss_code
from parsgd.kernels.multi import add_penalties, softmax
from parsgd.kernels.rows import U, _sparse, add, add_outputs, dot, dot_outputs, feature, span
from parsgd.kernels.single import look_ahead, prefetch_weights

INTERCEPT, GATHERED, OWED, GAIN = slot.INTERCEPT, slot.GATHERED, slot.PENALTY, slot.GAIN
SQUARE, ABSOLUTE, LOSS, FACTOR = slot.SQUARE, slot.ABSOLUTE, slot.LOSS, slot.FACTOR
OBJECTIVE, CLOCK, OWN_CLOCK = slot.OBJECTIVE, slot.CLOCK, slot.OWN_CLOCK

EPSILON = 1e-20
# Weights of more than this are asked for ahead; of two arrays of 1 MB a pass took 13.2 ms so, and 11.8 without.
FAR_BYTES = 1 << 22
# Values of a sparse row that are worked on at a time.
BLOCK = 256
_BLOCK = U(BLOCK)


@inlined
def stepped(w, gathered, g, eta, epsilon):
    """A weight's step along its gradient ``g``, which ``gathered`` holds already; ``epsilon`` in the type of all."""
    return w - eta * g / np.sqrt(gathered + epsilon)


def shrunk(w, gathered, due, l1, l2):
    """A weight when it has paid ``due`` times its rate, shared out between ``l1`` and ``l2``; all in the type of w."""
    raise NotImplementedError("only inside compiled code")


@overload(shrunk, jit_options=INLINE)
def _shrunk(w, gathered, due, l1, l2):
    number = np.float32 if w == types.float32 else np.float64
    epsilon, zero, one, two, part, most = (number(n) for n in (EPSILON, 0.0, 1.0, 2.0, 1.0 / 16.0, 100.0))
    t2, t3, t4, t5 = (number(1.0 / math.factorial(i)) for i in (2, 3, 4, 5))

    def implementation(w, gathered, due, l1, l2):
        c = due / np.sqrt(gathered + epsilon) if gathered > zero else zero
        # s = c (1 - e^-x) / x without a branch, and without losing the digits of a small x: of a 16th of x from the
        # series of e^x, and then by 1 - e^-2q = (1 - e^-q) (2 - (1 - e^-q)); after 100 nothing is left anyway
        q = part * min(l2 * c, most)
        p = one + q * (t2 + q * (t3 + q * (t4 + q * t5)))
        s = p / (one + q * p)
        d = q * s
        s *= part * c * (two - d)
        d *= two - d
        s *= two - d
        d *= two - d
        s *= two - d
        d *= two - d
        s *= two - d
        size = max(abs(w) - s * (l2 * abs(w) + l1), zero)
        # not copysign: a call into the C library, which keeps the loop from being vectorised
        return size if w > zero else -size

    return implementation


# -- one output --------------------------------------------------------------------------------------------------------


def pay(x, row, w, squares, paid, owed, l1, l2, room):
    """Bring the weights that a row wants up to date."""
    raise NotImplementedError("only inside compiled code")


def follow(x, row, gradient, eta, w, squares, room):
    """The step whose gradient is ``gradient * row``."""
    raise NotImplementedError("only inside compiled code")


# Weights of a sparse row lie apart, and roots and quotients of one at a time cost more than all the rest: they are
# fetched into ``room``, some at a time, computed there in whole vectors, and put back.  A feature that a row has twice
# pays once, and moves twice.


@overload(pay, jit_options=INLINE)
def _pay(x, row, w, squares, paid, owed, l1, l2, room):
    if not _sparse(x):

        def implementation(x, row, w, squares, paid, owed, l1, l2, room):
            for j in range(U(x.n_features)):
                w[j] = shrunk(w[j], squares[j], owed - paid[j], l1, l2)
                paid[j] = owed

        return implementation

    def implementation(x, row, w, squares, paid, owed, l1, l2, room):
        begin, end = span(x, row)
        values, gathered, due = room
        for at in range(begin, end, _BLOCK):
            n = min(end - at, _BLOCK)
            for q in range(n):
                j = feature(x, at + q, begin)
                values[q], gathered[q], due[q] = w[j], squares[j], owed - paid[j]
            for q in range(n):
                values[q] = shrunk(values[q], gathered[q], due[q], l1, l2)
            for q in range(n):
                j = feature(x, at + q, begin)
                w[j], paid[j] = values[q], owed

    return implementation


@overload(follow, jit_options=INLINE)
def _follow(x, row, gradient, eta, w, squares, room):
    if not _sparse(x):

        def implementation(x, row, gradient, eta, w, squares, room):
            begin, end = span(x, row)
            epsilon = w.dtype.type(EPSILON)
            for position in range(begin, end):
                j = feature(x, position, begin)
                g = gradient * x.data[position]
                gathered = squares[j] + g * g
                squares[j] = gathered
                w[j] = stepped(w[j], gathered, g, eta, epsilon)

        return implementation

    def implementation(x, row, gradient, eta, w, squares, room):
        begin, end = span(x, row)
        epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
        moves, gathered, more = room
        for at in range(begin, end, _BLOCK):
            n = min(end - at, _BLOCK)
            for q in range(n):
                gathered[q] = squares[feature(x, at + q, begin)]
            for q in range(n):
                g = gradient * x.data[at + q]
                more[q] = g * g
                moves[q] = stepped(zero, gathered[q] + g * g, g, eta, epsilon)
            for q in range(n):
                j = feature(x, at + q, begin)
                squares[j] += more[q]
                w[j] += moves[q]

    return implementation


@inlined
def follow_sum(x, row, slope, eta, w, squares):
    """The step along ``slope``, the gradients of a batch, of the features of one of its rows; there it is 0 then."""
    begin, end = span(x, row)
    epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
    for position in range(begin, end):
        j = feature(x, position, begin)
        g = slope[j]
        slope[j] = zero
        gathered = squares[j] + g * g
        squares[j] = gathered
        w[j] = stepped(w[j], gathered, g, eta, epsilon)


@inlined
def norms(x, row, w):
    """The sums of squares and of absolutes of the weights that a row touches."""
    begin, end = span(x, row)
    square, absolute = w.dtype.type(0), w.dtype.type(0)
    for position in range(begin, end):
        weight = w[feature(x, position, begin)]
        square += weight * weight
        absolute += abs(weight)
    return square, absolute


@kernel
def descend_adagrad(x, y, weight, order, start, stop, w, squares, paid, slope, buffer, scratch, carry, recipe):
    """Visit ``order[start:stop]``; updates ``w`` and ``squares`` (n_features,), and ``carry``.

    ``paid`` (n_features,) is what of ``carry[OWED]`` each weight has paid, empty where there is no penalty; ``slope``
    (n_features,) is all zeros, and empty for batches of 1.  Room to work in: ``scratch``, three times ``(BLOCK,)``;
    ``buffer`` is for the kernel of several outputs, whose twin this is.
    """
    token = release_gil((stop - start) * values_per_row(x) * 4 >= recipe.release_from)
    number = w.dtype.type
    intercept, gathered, owed = carry[INTERCEPT, 0], carry[GATHERED, 0], carry[OWED, 0]
    square, absolute = carry[SQUARE, 0], carry[ABSOLUTE, 0]
    loss_sum, factor, objective, t = carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0], carry[CLOCK, 0]
    positive, negative = recipe.positive[0], recipe.negative[0]
    weighted, penalised, far = weight.shape[0] > 0, paid.shape[0] > 0, w.shape[0] * w.itemsize > FAR_BYTES
    alpha, l1_ratio = recipe.alpha, recipe.l1_ratio
    l1, l2 = number(l1_ratio), number(1.0 - l1_ratio)
    eta = carry[GAIN, 0] * recipe.eta0
    rate = number(eta)
    # a converged output stays as it is
    moves = 1.0 if eta > 0.0 else 0.0
    first = start
    while first < stop:
        last = min(first + recipe.batch_size, stop)
        share = moves / (last - first)
        penalty = alpha * ((1.0 - l1_ratio) * 0.5 * square + l1_ratio * absolute)
        of_intercept = moves * alpha if recipe.one_class else 0.0
        gradient = 0.0
        for i in range(first, last):
            look_ahead(x, y, order, i)
            if far:
                prefetch_weights(x, order, i, w, U(1))
                prefetch_weights(x, order, i, squares, U(1))
            row = order[U(i)]
            target = y[U(row)]
            if penalised:
                pay(x, row, w, squares, paid, number(owed), l1, l2, scratch)
            p = dot(x, row, w) + intercept
            gradient, l, f = evaluate(recipe.loss, target, p)
            loss_sum += l
            factor *= f
            loss_sum, factor = fold_factor(loss_sum, factor)
            if recipe.measured:
                objective += penalty + (intercept * alpha if recipe.one_class else 0.0)
            gradient *= share * (positive if target > 0.0 else negative)
            if weighted:
                gradient *= weight[U(row)]
            of_intercept += gradient
            if recipe.batch_size > 1:
                add(x, row, gradient, slope)
        for i in range(first, last):
            row = order[U(i)]
            if recipe.batch_size > 1:
                follow_sum(x, row, slope, rate, w, squares)
            elif gradient != 0.0:
                follow(x, row, number(gradient), rate, w, squares, scratch)
            if recipe.measured:
                s, a = norms(x, row, w)
                square, absolute = float(s), float(a)
        if recipe.fit_intercept:
            gathered += of_intercept * of_intercept
            intercept = stepped(intercept, gathered, of_intercept, eta, EPSILON)
        owed += eta * alpha
        t += recipe.pace
        first = last
    carry[INTERCEPT, 0], carry[GATHERED, 0], carry[OWED, 0] = intercept, gathered, owed
    carry[SQUARE, 0], carry[ABSOLUTE, 0] = square, absolute
    carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0] = loss_sum, factor, objective
    carry[OWN_CLOCK, 0] += t - carry[CLOCK, 0]
    carry[CLOCK, 0] = t
    take_gil(token)


# -- several outputs ---------------------------------------------------------------------------------------------------


@inlined
def pay_outputs(x, row, w, squares, paid, stride, carry, l1, l2):
    """:func:`pay` for all outputs; ``w[feature * stride + output]``."""
    begin, end = span(x, row)
    for position in range(begin, end):
        at = feature(x, position, begin) * stride
        for k in range(stride):
            owed = w.dtype.type(carry[OWED, k])
            w[at + k] = shrunk(w[at + k], squares[at + k], owed - paid[at + k], l1, l2)
            paid[at + k] = owed


@inlined
def follow_outputs(x, row, gradients, rates, w, squares, stride):
    """:func:`follow` for all outputs."""
    begin, end = span(x, row)
    epsilon = w.dtype.type(EPSILON)
    for position in range(begin, end):
        value = x.data[position]
        at = feature(x, position, begin) * stride
        for k in range(stride):
            g = gradients[k] * value
            gathered = squares[at + k] + g * g
            squares[at + k] = gathered
            w[at + k] = stepped(w[at + k], gathered, g, rates[k], epsilon)


@inlined
def follow_sums(x, row, slope, rates, w, squares, stride):
    """:func:`follow_sum` for all outputs."""
    begin, end = span(x, row)
    epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
    for position in range(begin, end):
        at = feature(x, position, begin) * stride
        for k in range(stride):
            g = slope[at + k]
            slope[at + k] = zero
            gathered = squares[at + k] + g * g
            squares[at + k] = gathered
            w[at + k] = stepped(w[at + k], gathered, g, rates[k], epsilon)


@inlined
def norms_outputs(x, row, w, stride, n_outputs, carry):
    """:func:`norms` for all outputs, into ``carry``."""
    begin, end = span(x, row)
    for k in range(n_outputs):
        carry[SQUARE, k], carry[ABSOLUTE, k] = 0.0, 0.0
    for position in range(begin, end):
        at = feature(x, position, begin) * stride
        for k in range(n_outputs):
            weight = float(w[at + U(k)])
            carry[SQUARE, k] += weight * weight
            carry[ABSOLUTE, k] += abs(weight)


@kernel
def descend_adagrad_outputs(x, y, weight, order, start, stop, w, squares, paid, slope, buffer, scratch, carry, recipe):
    """Visit ``order[start:stop]``; ``w``, ``squares``, ``paid`` and ``slope`` are ``(n_features * stride,)``.

    Room to work in: ``buffer`` (batch, stride) and ``scratch = (vectors (3, stride), numbers (2, stride))``.
    """
    token = release_gil((stop - start) * values_per_row(x) * buffer.shape[1] * 4 >= recipe.release_from)
    n_outputs, stride = recipe.n_outputs, U(buffer.shape[1])
    vectors, numbers = scratch
    margins, rates, sums = vectors[0], vectors[1], vectors[2]
    scores, gradients = numbers[0], numbers[1]
    number = w.dtype.type
    l1, l2 = number(recipe.l1_ratio), number(1.0 - recipe.l1_ratio)
    weighted, penalised, far = weight.shape[0] > 0, paid.shape[0] > 0, w.shape[0] * w.itemsize > FAR_BYTES
    joint = loss_code(recipe.loss) == SOFTMAX
    for k in range(stride):
        rates[k] = number(carry[GAIN, k] * recipe.eta0)
    # a joint loss is the same for every output
    loss_sum, factor, objective = carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0]
    t = carry[CLOCK, 0]
    first = start
    while first < stop:
        last = min(first + recipe.batch_size, stop)
        share = 1.0 / (last - first)
        for k in range(stride):
            sums[k] = 0
        for i in range(first, last):
            look_ahead(x, y, order, i)
            if far:
                prefetch_weights(x, order, i, w, stride)
                prefetch_weights(x, order, i, squares, stride)
            row = order[U(i)]
            target = y[U(row)]
            if penalised:
                pay_outputs(x, row, w, squares, paid, stride, carry, l1, l2)
            dot_outputs(recipe.tiles, x, row, w, stride, margins)
            for k in range(stride):
                scores[k] = margins[k] + carry[INTERCEPT, k]
            if recipe.measured and recipe.penalised:
                objective += add_penalties(carry, recipe)
            example = weight[U(row)] * share if weighted else share
            if joint:
                l, f = softmax(scores, n_outputs, target, gradients)
                example *= recipe.positive[target]
                loss_sum, factor = fold_factor(loss_sum + l, factor * f)
            else:
                evaluate_outputs(recipe.loss, target, scores, gradients, carry[LOSS], carry[FACTOR], n_outputs)
            g = buffer[i - first]
            for k in range(n_outputs):
                of_class = 1.0 if joint else (recipe.positive[k] if target == k else recipe.negative[k])
                # a converged output stays as it is
                g[k] = gradients[k] * example * of_class if carry[GAIN, k] > 0.0 else 0.0
                sums[k] += g[k]
            if not joint and i & 15 == 0:  # 16 factors of at most n_outputs each cannot overflow
                for k in range(n_outputs):
                    carry[LOSS, k], carry[FACTOR, k] = fold_factor(carry[LOSS, k], carry[FACTOR, k])
            if recipe.batch_size > 1:
                add_outputs(recipe.tiles, x, row, g, slope, stride)
        for i in range(first, last):
            row = order[U(i)]
            if recipe.batch_size > 1:
                follow_sums(x, row, slope, rates, w, squares, stride)
            else:
                follow_outputs(x, row, buffer[0], rates, w, squares, stride)
            if recipe.measured:
                norms_outputs(x, row, w, stride, n_outputs, carry)
        for k in range(n_outputs):
            eta = carry[GAIN, k] * recipe.eta0
            if recipe.fit_intercept:
                step = float(sums[k])
                carry[GATHERED, k] += step * step
                carry[INTERCEPT, k] = stepped(carry[INTERCEPT, k], carry[GATHERED, k], step, eta, EPSILON)
            carry[OWED, k] += eta * recipe.alpha
        t += recipe.pace
        first = last
    carry[OWN_CLOCK, 0] += t - carry[CLOCK, 0]
    for k in range(n_outputs):
        carry[CLOCK, k] = t
        if joint:
            carry[LOSS, k], carry[FACTOR, k], carry[OBJECTIVE, k] = loss_sum, factor, objective
    take_gil(token)


@kernel
def pay_all(w, squares, paid, stride, carry, recipe):
    """Bring all weights up to date."""
    token = release_gil(w.shape[0] >= recipe.release_from)
    l1, l2 = w.dtype.type(recipe.l1_ratio), w.dtype.type(1.0 - recipe.l1_ratio)
    for k in range(U(stride)):
        owed = w.dtype.type(carry[OWED, k])
        for at in range(k, U(w.shape[0]), U(stride)):
            w[at] = shrunk(w[at], squares[at], owed - paid[at], l1, l2)
            paid[at] = owed
    take_gil(token)
