"""The smaller and the larger of two numbers, as Python's ``min`` and ``max`` choose: the first, unless the second wins.

Numba compiles its own ``min`` and ``max`` anew for each pair of types, which takes a twentieth of a second.
"""

from __future__ import annotations

from parsgd.kernels.lowlevel.compiling import inlined


@inlined
def smaller(a: float, b: float) -> float:
    return b if b < a else a


@inlined
def larger(a: float, b: float) -> float:
    return b if b > a else a
