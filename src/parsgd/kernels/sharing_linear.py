"""Runs of SGD steps of a linear model on weights that other workers step on, too: see :mod:`parsgd.kernels.sharing`."""

from __future__ import annotations

from parsgd.kernels import multi, sharing, single
from parsgd.kernels import recipe as slot
from parsgd.kernels.compiling import called, inlined, kernel
from parsgd.kernels.gil import release_gil, take_gil, values_per_row
from parsgd.kernels.schedules import rate
from parsgd.kernels.sharing import close_board, open_again, open_board

INTERCEPT, SCALE, PENALTY, CLOCK = slot.INTERCEPT, slot.SCALE, slot.PENALTY, slot.CLOCK
WAS_INTERCEPT, WAS_SCALE, WAS_PENALTY, WAS_CLOCK = (
    slot.WAS_INTERCEPT, slot.WAS_SCALE, slot.WAS_PENALTY, slot.WAS_CLOCK,
)  # fmt: skip
# Rows of the board of a linear model.
BOARD_SCALE, BOARD_CLOCK, WORKERS = sharing.SCALE, sharing.CLOCK, sharing.WORKERS
BOARD_INTERCEPT, BOARD_PENALTY = sharing.OWN, sharing.OWN + 1
N_BOARD = sharing.OWN + 2

_single = single.make_steps(inlined, True, True)
_softmax = multi.make_steps(inlined, True, True, True)
_multi = multi.make_steps(inlined, False, True, True)
# Rows of a stretch.  A look at the board costs about as much as a few short rows.
_MOST_ROWS, _LEAST_ROWS = 256, 8


@inlined
def rows_of_stretch(board, clock, recipe):
    """How many rows to visit until the next look at the board.

    All workers correct the intercept for the same error, and their corrections are added.  So in a stretch they may
    together take no more than its whole way, about ``1 / (eta decay)`` steps.
    """
    rows = float(_MOST_ROWS)
    if recipe.fit_intercept:
        eta = rate(recipe.schedule, clock, recipe.eta0, recipe.power_t, recipe.alpha, recipe.optimal_start)
        steps = 1.0 / (eta * recipe.intercept_decay * board[WORKERS, 0])
        rows = max(float(_LEAST_ROWS), min(rows, steps * recipe.batch_size))
    return max(1, int(rows) // recipe.batch_size) * recipe.batch_size


@called
def enter(board, w, stride, tiny, carry, n_outputs):
    """Take what is on the board."""
    open_board(board, w, stride, tiny)
    for k in range(n_outputs):
        carry[SCALE, k] = carry[WAS_SCALE, k] = board[BOARD_SCALE, k]
        carry[INTERCEPT, k] = carry[WAS_INTERCEPT, k] = board[BOARD_INTERCEPT, k]
        carry[PENALTY, k] = carry[WAS_PENALTY, k] = board[BOARD_PENALTY, k]
        carry[CLOCK, k] = carry[WAS_CLOCK, k] = board[BOARD_CLOCK, 0]
    close_board(board)


@called
def leave(board, carry, n_outputs):
    """Add to the board what the stretch moved."""
    open_again(board)
    board[BOARD_CLOCK, 0] += carry[CLOCK, 0] - carry[WAS_CLOCK, 0]
    for k in range(n_outputs):
        board[BOARD_SCALE, k] *= carry[SCALE, k] / carry[WAS_SCALE, k]
        board[BOARD_INTERCEPT, k] += carry[INTERCEPT, k] - carry[WAS_INTERCEPT, k]
        board[BOARD_PENALTY, k] += carry[PENALTY, k] - carry[WAS_PENALTY, k]
        # the last worker to leave knows where all of them arrived
        carry[CLOCK, k] = board[BOARD_CLOCK, 0]
    close_board(board)


def _make_share(several, joint):
    """Make the kernel that takes up the board before, and leaves it after, every stretch of steps."""

    @kernel
    def share(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny, carry, recipe, board):
        stride = 1
        if several:
            stride = buffer.shape[1]
        token = release_gil((stop - start) * values_per_row(x) * stride >= recipe.release_from)
        while start < stop:
            enter(board, w, stride, tiny, carry, recipe.n_outputs)
            end = min(stop, start + rows_of_stretch(board, carry[CLOCK, 0], recipe))
            if not several:
                start = _single(x, y, weight, order, start, end, w, mean, paid, buffer, scratch, tiny, carry, recipe)
            elif joint:
                start = _softmax(x, y, weight, order, start, end, w, mean, paid, buffer, scratch, tiny, carry, recipe)
            else:
                start = _multi(x, y, weight, order, start, end, w, mean, paid, buffer, scratch, tiny, carry, recipe)
            leave(board, carry, recipe.n_outputs)
        take_gil(token)

    return share


share_single, share_softmax, share_multi = _make_share(False, False), _make_share(True, True), _make_share(True, False)
