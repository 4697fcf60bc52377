"""Workers that step on the same weights at the same time: what they share besides, and when they wait.

Weights are written to without a lock: of two steps on one weight at the same moment one may be lost, and where rows are
sparse that is rare (Niu, Recht, Re, Wright, "Hogwild!", NIPS 2011).  The few numbers that *every* step moves would be
lost all the time.  They lie on a **board**, float64 ``(rows, n_outputs)``: a worker takes them, makes a stretch of
steps with its own copies, and then adds what these moved by.  So none of them is lost, and they are old by a stretch at
most.

Weights are held as ``SCALE * w``, with one scale for all workers.  When it has become tiny it is multiplied into the
weights by a worker that finds none of the others within a stretch; none begins one before that is done.
"""

from __future__ import annotations

from parsgd.kernels.atomics import lock, unlock
from parsgd.kernels.compiling import called, inlined

# Rows of a board; what is of one kind of model comes from OWN on.
(
    LOCK,  # no number: the lock, held while somebody reads or writes the board
    INSIDE,  # workers that are within a stretch
    WORKERS,  # workers in all
    SCALE,  # the weights are SCALE times what is stored
    CLOCK,  # the step that all of them together stand at
    OWN,
) = range(6)


@inlined
def any_tiny(board, tiny):
    """Whether a scale has become too small to go on with (or is no number)."""
    found = False
    for k in range(board.shape[1]):
        found |= not board[SCALE, k] >= tiny
    return found


@called
def fold(board, w, stride):
    """Multiply the scales into the weights, ``w[feature * stride + output]``."""
    for k in range(board.shape[1]):
        scale = w.dtype.type(board[SCALE, k])
        for at in range(k, w.shape[0], stride):
            w[at] *= scale
        board[SCALE, k] = 1.0


@called
def open_board(board, w, stride, tiny):
    """Begin a stretch.  The board is then this worker's until :func:`close_board`."""
    lock(board)
    while any_tiny(board, tiny):
        if board[INSIDE, 0] == 0.0:
            fold(board, w, stride)
        else:
            unlock(board)
            lock(board)
    board[INSIDE, 0] += 1.0


@called
def open_again(board):
    """End a stretch.  The board is then this worker's until :func:`close_board`."""
    lock(board)
    board[INSIDE, 0] -= 1.0


@inlined
def close_board(board):
    """Let the others look at the board."""
    unlock(board)
