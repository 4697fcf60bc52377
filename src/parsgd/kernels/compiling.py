"""How kernels are compiled and cached.

``@kernel`` marks what Python calls: compiled once per combination of argument types, without the GIL, and cached on
disk.  Numba keys its cache by the text of the file that holds the function alone; a kernel here also depends on the
helpers it inlines from its neighbours, so the key is widened to the text of the whole folder.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numba

# Sums may be reordered and multiply-adds fused, which lets loops vectorise.  NaN and infinity keep their meaning: a
# diverging fit is recognised by them.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

# Helpers are inlined for good: a call left standing between rows costs as much as a short row, and counts references.
# Dividing by zero gives infinity: Python's error would be a branch, which keeps loops from being vectorised.
_COMMON = {"fastmath": FASTMATH, "error_model": "numpy"}
INLINE = {**_COMMON, "forceinline": True}
inlined = numba.njit(**INLINE)
# Passes over whole arrays are called: inlined at every place they would only take longer to compile.
called = numba.njit(**_COMMON, _nrt=False)
# A body that several kernels have in common: put in its place before anything is compiled.  Called or inlined as above
# it would be compiled by itself, too, which doubled the 2 s that a user's loss takes.
spliced = numba.njit(inline="always", **_COMMON)
# Kernels allocate nothing, so they need not count references to their arrays: atomic additions, several a row.
_ENTRY = {**_COMMON, "nogil": True, "_nrt": False}


@functools.cache
def sources_stamp() -> str:
    """A digest of every kernel source, so that changing any of them compiles afresh."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function):
    """Compile ``function`` on first use for each combination of types, cached on disk, GIL released."""
    compiled = numba.njit(cache=True, **_ENTRY)(function)
    compiled._cache._cache_file._source_stamp = sources_stamp()
    return compiled


def uncached(compiled):
    """The same kernel for types that exist in this process alone (a user's loss): compiled, not written to disk."""
    return numba.njit(**_ENTRY)(compiled.py_func)
