"""The order in which rows are visited: scikit-learn's, so that one worker repeats its bits.

scikit-learn shuffles its list of rows before each epoch by Fisher and Yates with a xorshift generator (Marsaglia 2003)
seeded alike each time.  Swaps go by position, so every epoch applies the same permutation ``p`` to the list:
epoch e visits ``list[p][p]...[p]``, e + 1 times.  Drawing ``p`` once and gathering through it costs a third of
swapping.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.compiling import kernel
from parsgd.kernels.gil import LONG, release_gil, take_gil


@kernel
def permute(out, seed):
    """Fill ``out`` (n,) with the permutation of 0..n-1 that the seed draws."""
    n = out.shape[0]
    token = release_gil(n >= LONG // 4)
    for i in range(n):
        out[i] = i
    state = np.uint32(seed)
    if state == np.uint32(0):
        state = np.uint32(1)
    for i in range(n - 1):
        state ^= np.uint32(state << np.uint32(13))
        state ^= np.uint32(state >> np.uint32(17))
        state ^= np.uint32(state << np.uint32(5))
        drawn = np.uint32(state & np.uint32(0x7FFFFFFF))
        j = np.int64(i) + np.int64(drawn % np.uint32(n - i))
        out[i], out[j] = out[j], out[i]
    take_gil(token)


@kernel
def unfold(values, starts, groups, out):
    """Write the runs ``values[starts[g]:starts[g + 1]]`` one after the other, for each ``g`` of ``groups``."""
    token = release_gil(out.shape[0] >= LONG)
    at = np.uint64(0)
    for i in range(groups.shape[0]):
        group = np.uint64(groups[np.uint64(i)])
        for place in range(np.uint64(starts[group]), np.uint64(starts[group + np.uint64(1)])):
            out[at] = values[place]
            at += np.uint64(1)
    take_gil(token)


@kernel
def gather(values, positions, out):
    """``out = values[positions]``."""
    token = release_gil(positions.shape[0] >= LONG // 2)
    for i in range(positions.shape[0]):
        out[np.uint64(i)] = values[np.uint64(positions[np.uint64(i)])]
    take_gil(token)
