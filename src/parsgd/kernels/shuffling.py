"""The order of the rows: scikit-learn's, so that one worker reproduces its results to the bit.

scikit-learn shuffles its list of rows before each epoch by Fisher-Yates with a xorshift generator (Marsaglia 2003) and
the same seed each time.  Swaps are by position, so every epoch applies the same permutation ``p`` to the list: epoch e
visits ``list[p][p]...[p]``, e + 1 times.  Computing ``p`` once and indexing with it costs a third of swapping.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.gil import MIN_VALUES_TO_RELEASE, reacquire_gil, release_gil

U = np.uint64
_BITS32, _BITS31 = U(0xFFFFFFFF), U(0x7FFFFFFF)


@kernel
def permute(out: np.ndarray, seed: int) -> None:
    """Fill ``out`` (n,) with the permutation of 0..n-1 that the seed gives."""
    n = U(out.shape[0])
    token = release_gil(n >= MIN_VALUES_TO_RELEASE // 4)
    for i in range(n):
        out[i] = i
    # the generator has 32 bits and Numba computes in 64, so higher bits are cut off after left shifts
    state = U(seed) & _BITS32
    if state == U(0):
        state = U(1)
    for i in range(n - U(1)):
        state ^= (state << U(13)) & _BITS32
        state ^= state >> U(17)
        state ^= (state << U(5)) & _BITS32
        # a 32-bit division takes half as long
        j = i + U(np.uint32(state & _BITS31) % np.uint32(n - i))
        out[i], out[j] = out[j], out[i]
    reacquire_gil(token)


@kernel
def gather_runs(values: np.ndarray, starts: np.ndarray, groups: np.ndarray, out: np.ndarray) -> None:
    """Concatenate the runs ``values[starts[g]:starts[g + 1]]`` for each ``g`` of ``groups``."""
    token = release_gil(out.shape[0] >= MIN_VALUES_TO_RELEASE)
    at = U(0)
    for i in range(groups.shape[0]):
        group = U(groups[U(i)])
        for index in range(U(starts[group]), U(starts[group + U(1)])):
            out[at] = values[index]
            at += U(1)
    reacquire_gil(token)


@kernel
def gather(values: np.ndarray, positions: np.ndarray, out: np.ndarray) -> None:
    """Set ``out = values[positions]``."""
    n = U(positions.shape[0])
    token = release_gil(n >= MIN_VALUES_TO_RELEASE // 2)
    for i in range(n):
        out[i] = values[U(positions[i])]
    reacquire_gil(token)
