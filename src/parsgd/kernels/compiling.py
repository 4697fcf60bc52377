"""Compilation of kernels and their cache on disk.

``@kernel`` marks what Python calls: compiled once per combination of argument types and cached on disk.  Numba keys its
cache by the text of the file that holds the function alone; a kernel here also depends on the helpers it inlines from
its neighbors, so the key is widened to the text of the whole folder.

Kernels keep the GIL or release it by themselves (:mod:`parsgd.kernels.gil`).  All compilation happens under the lock of
:mod:`parsgd.utils.first_use`.  Where no cache can be read or written, kernels are compiled without one, with one
warning.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
from numba import _dynfunc
from numba.core import typed_passes, untyped_passes
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, PassManager
from numba.core.compiler_machinery import register_pass

from parsgd.errors import KernelCacheWarning
from parsgd.training import progress
from parsgd.utils import first_use

# Sums may be reordered and multiply-adds fused, which lets loops vectorise.  NaN and infinity keep their meaning: a
# diverging fit is recognised by them.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
# Print a line about compilation that takes longer than this.
_ANNOUNCE_AFTER_S = 1.0


class _HelperLibrary(JITCodeLibrary):
    """The LLVM code of a helper, which is optimized and compiled where it is inlined, and nowhere else."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _HelperLowering(typed_passes.NativeLowering):
    """Lower a helper to LLVM code, and stop there: Numba would optimize and compile it as if Python called it."""

    _name = "parsgd_helper_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        changed = super().run_pass(state)
        lowered, name = state["cr"], state.func_id.func_qualname
        entry = _dynfunc.make_function(state.func_id.module, name, "", 0, lowered.env, (state.library,))
        state.targetctx.insert_user_function(entry, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=entry)
        return changed


class _Pipeline(CompilerBase):
    """The passes of Numba that kernels need; without those for closures, literals, context managers and parallel loops.

    Numba's default pipeline takes 1.3 times as long for the same machine code.
    """

    lowering = typed_passes.NativeLowering

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("parsgd")
        for one in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            untyped_passes.IRProcessing,
            untyped_passes.DeadBranchPrune,
            untyped_passes.GenericRewrites,
            untyped_passes.ReconstructSSA,
            typed_passes.NopythonTypeInference,
            typed_passes.PreLowerStripPhis,
            typed_passes.IRLegalization,
            self.lowering,
            typed_passes.NoPythonBackend,
        ):
            passes.add_pass(one, one.__name__)
        passes.finalize()
        return [passes]


class _HelperPipeline(_Pipeline):
    """The same for helpers."""

    lowering = _HelperLowering


# Dividing by zero gives infinity: Python's error would be a branch, which keeps loops from being vectorised.
_COMMON = {"fastmath": FASTMATH, "error_model": "numpy", "pipeline_class": _Pipeline, "no_cfunc_wrapper": True}
_HELPER = {**_COMMON, "no_cpython_wrapper": True, "pipeline_class": _HelperPipeline}
# Helpers are inlined for good: a call left standing between rows costs as much as a short row, and counts references.
INLINE = {**_HELPER, "forceinline": True}
# Kernels allocate nothing, so they need not count references to their arrays: atomic additions, several per row.
_ENTRY = {**_COMMON, "_nrt": False}


@contextlib.contextmanager
def _jit_enabled() -> Iterator[None]:
    """Compile even where NUMBA_DISABLE_JIT is set: kernels use instructions that Python lacks."""
    before, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, 0
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = before


def _jit(**options: Any):
    def decorate(function):
        with _jit_enabled():
            return numba.njit(**options)(function)

    return decorate


inlined = _jit(**INLINE)
# Passes over whole arrays are called: inlined at every place they would only take longer to compile.
called = _jit(**_HELPER, _nrt=False)


@functools.cache
def sources_stamp() -> str:
    """A digest of every kernel source, so that changing any of them compiles afresh."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function):
    """Compile ``function`` on first use for each combination of types, cached on disk."""
    return _exclusive(_cached(_jit(**_ENTRY)(function), function))


def _cached(compiled, function):
    """Give a compiled function a cache, if there is a folder for it."""
    try:
        compiled._cache = _Cache(function)
    except (RuntimeError, OSError) as error:  # Numba finds no folder that it can write to
        _warn_uncached(str(error))
    return compiled


def uncached(compiled):
    """The same kernel for types that exist in this process alone (a user's loss): compiled, not written to disk.

    A user's code may raise, so Numba itself releases the GIL around it.
    """
    return _exclusive(_jit(**_ENTRY, nogil=True)(compiled.py_func))


def routine(function):
    """Compile ``function`` by itself, to be called by its address (:mod:`parsgd.kernels.routines`)."""
    return _exclusive(_cached(_jit(**{**_ENTRY, "no_cfunc_wrapper": False})(function), function))


@functools.cache
def address_of(compiled, types: tuple) -> int:
    """The address of a routine for arguments of these Numba types; compiled or read from the cache now."""
    compiled.compile(types)
    result = compiled.overloads[types]
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def cache_folder() -> str | None:
    """The folder in which compiled kernels are kept; None where none can be written to."""
    from parsgd.kernels.single import descend_single

    return getattr(descend_single._cache, "cache_path", None)


def _exclusive(compiled):
    """Let one thread at a time compile."""
    compile_types = compiled.compile

    def compile_alone(signature):
        with first_use.exclusive(), _jit_enabled(), _announced():
            return compile_types(signature)

    compiled.compile = compile_alone
    return compiled


class _CacheFile(IndexDataCacheFile):
    """Numba's files of one kernel, with a data file per key.

    Numba numbers its data files: two processes that compile at the same time can take the same number, and then one
    reads the other's code.  Here the worst that can happen is that an entry is lost, and compiled again.
    """

    def save(self, key, data):
        digest = hashlib.sha256(f"{self._source_stamp} {key!r}".encode()).hexdigest()
        name = self._data_name(int(digest[:15], 16))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _Cache(FunctionCache):
    """Numba's cache of one kernel, keyed by all kernel sources; an unreadable or full disk is no error."""

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, sources_stamp())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file raises whatever unpickling meets
            _warn_uncached(f"reading from {self.cache_path}: {error!r}")
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_uncached(f"writing to {self.cache_path}: {error}")


@functools.cache
def _warn_once() -> list[bool]:
    return []


def _warn_uncached(reason: str) -> None:
    if _warn_once():
        return
    _warn_once().append(True)
    warnings.warn(
        f"Compiled kernels cannot be cached ({reason}); every process compiles them again, which takes some seconds."
        " Set NUMBA_CACHE_DIR to a folder that can be written to, or run `parsgd compile` where parsgd is installed.",
        KernelCacheWarning,
        stacklevel=2,
    )


_depth = 0
_said = False


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Print a line, once per process, if the compilation inside the block takes more than a second."""
    global _depth
    _depth += 1
    timer = threading.Timer(_ANNOUNCE_AFTER_S, _announce) if _depth == 1 and _is_watched() else None
    if timer is not None:
        timer.name = "parsgd-announce"
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        _depth -= 1
        if timer is not None:
            timer.cancel()
            timer.join()


def _is_watched() -> bool:
    """Whether anybody reads what is printed."""
    if _said or sys.stderr is None:
        return False
    with contextlib.suppress(ValueError, OSError):
        return first_use.announce_always or progress.is_observed() or sys.stderr.isatty()
    return False


def _announce() -> None:
    global _said
    _said = True
    with contextlib.suppress(ValueError, OSError):
        print(
            "parsgd: compiling kernels for this machine; once per machine, some seconds"
            " (`parsgd compile` does it beforehand).",
            file=sys.stderr,
            flush=True,
        )
