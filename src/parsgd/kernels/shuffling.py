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

U = np.uint64
_BITS32, _BITS31 = U(0xFFFFFFFF), U(0x7FFFFFFF)


@kernel
def permute(out, seed):
    """Fill ``out`` (n,) with the permutation of 0..n-1 that the seed draws."""
    n = U(out.shape[0])
    token = release_gil(n >= LONG // 4)
    for i in range(n):
        out[i] = i
    # the generator has 32 bits; Numba computes in 64, so the bits above are cut off where a shift makes some
    state = U(seed) & _BITS32
    if state == U(0):
        state = U(1)
    for i in range(n - U(1)):
        state ^= (state << U(13)) & _BITS32
        state ^= state >> U(17)
        state ^= (state << U(5)) & _BITS32
        # a division of 32 bits takes half as long
        j = i + U(np.uint32(state & _BITS31) % np.uint32(n - i))
        out[i], out[j] = out[j], out[i]
    take_gil(token)


@kernel
def unfold(values, starts, groups, out):
    """Write the runs ``values[starts[g]:starts[g + 1]]`` one after the other, for each ``g`` of ``groups``."""
    token = release_gil(out.shape[0] >= LONG)
    at = U(0)
    for i in range(groups.shape[0]):
        group = U(groups[U(i)])
        for place in range(U(starts[group]), U(starts[group + U(1)])):
            out[at] = values[place]
            at += U(1)
    take_gil(token)


@kernel
def gather(values, positions, out):
    """``out = values[positions]``."""
    n = U(positions.shape[0])
    token = release_gil(n >= LONG // 2)
    for i in range(n):
        out[i] = values[U(positions[i])]
    take_gil(token)
