"""Compilation of kernels, and their cache on disk.

``@kernel`` marks the functions that Python calls: compiled once per combination of argument types and cached on disk.
Numba's cache key covers only the text of the file that defines the function.  Kernels also inline helpers from other
files, so the key here covers the text of the whole folder.

Kernels keep or release the GIL explicitly (:mod:`parsgd.kernels.lowlevel.gil`).  All compilation happens under the
lock of :mod:`parsgd.utils.first_use`.  Without a readable and writable cache, kernels are compiled in memory, with one
warning.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numba
from numba import _dynfunc
from numba._dispatcher import compute_fingerprint
from numba.core import typed_passes, untyped_passes
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, PassManager
from numba.core.compiler_machinery import register_pass

from parsgd.errors import KernelCacheWarning
from parsgd.training.reporting import progress
from parsgd.utils import first_use
from parsgd.utils.callers import warn
from parsgd.utils.streams import MessageStream

_F = TypeVar("_F", bound=Callable[..., Any])

if TYPE_CHECKING:

    class _Decorator(Protocol):
        """A decorator that keeps the signature."""

        def __call__(self, function: _F, /) -> _F: ...


# Sums may be reordered and multiply-adds fused, so that loops vectorize.  NaN and infinity keep their meaning, because
# divergence is detected by them.
FASTMATH: set[str] = {"reassoc", "contract", "nsz", "arcp"}
# Compilation that takes longer prints a line.
_ANNOUNCE_AFTER_S = 1.0


class _KernelLibrary(JITCodeLibrary):
    """The LLVM code of a kernel, optimized once, as a whole.

    Numba optimizes each function before, and runs a cheap pass over the whole, to remove counts of references.
    Kernels have none.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class _HelperLibrary(JITCodeLibrary):
    """The LLVM code of a helper; optimized and compiled only as part of the kernels that inline it."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(typed_passes.NativeLowering):
    """Lower a kernel to LLVM code that is optimized once."""

    _name = "parsgd_kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().run_pass(state)


@register_pass(mutates_CFG=True, analysis_only=False)
class _HelperLowering(typed_passes.NativeLowering):
    """Lower a helper to LLVM code and stop; Numba would also compile it as a function that Python calls."""

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
    """The passes of Numba that kernels need; none for closures, literals, context managers or parallel loops.

    Numba's default pipeline takes 1.3 times as long and produces the same machine code.
    """

    lowering = _KernelLowering

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
    """The pipeline of helpers."""

    lowering = _HelperLowering


# Division by zero gives infinity: Python's error would need a branch, which prevents vectorization.
_COMMON = {"fastmath": FASTMATH, "error_model": "numpy", "pipeline_class": _Pipeline, "no_cfunc_wrapper": True}
_HELPER = {**_COMMON, "no_cpython_wrapper": True, "pipeline_class": _HelperPipeline}
# Helpers are always inlined: a remaining call costs as much as a short row, and counts references.
INLINE: dict[str, Any] = {**_HELPER, "forceinline": True}
# Without reordered operations: results whose bits must not depend on the loop that computes them.
EXACT: dict[str, Any] = {**INLINE, "fastmath": False}
# Kernels allocate nothing, so reference counting is off: it would cost several atomic additions per row.
_ENTRY = {**_COMMON, "_nrt": False}
# Routines are called by address, never from Python.
_ROUTINE = {**_ENTRY, "no_cfunc_wrapper": False, "no_cpython_wrapper": True}


@contextlib.contextmanager
def _jit_enabled() -> Iterator[None]:
    """Compile even if NUMBA_DISABLE_JIT is set, because kernels use instructions that Python lacks."""
    before, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, 0
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = before


def _jit(**options: Any) -> _Decorator:
    def decorate(function: _F) -> _F:
        with _jit_enabled():
            return numba.njit(**options)(function)

    return decorate


inlined: _Decorator = _jit(**INLINE)
exact: _Decorator = _jit(**EXACT)
# Loops over whole arrays are called, not inlined: inlining would only lengthen compilation.
called: _Decorator = _jit(**_HELPER, _nrt=False)


def _kernels_folder() -> Path:
    return Path(__file__).parents[1]


@functools.cache
def sources_stamp() -> str:
    """Return a digest of all kernel sources, so that a change in any of them recompiles all kernels."""
    digest = hashlib.sha256()
    for path in sorted(_kernels_folder().rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function: _F) -> _F:
    """Compile ``function`` at its first call per combination of argument types, cached on disk."""
    return _exclusive(_cached(_jit(**_ENTRY)(function), function))


def exact_kernel(function: _F) -> _F:
    """Compile ``function`` as :func:`kernel` does, without reordered operations."""
    return _exclusive(_cached(_jit(**{**_ENTRY, "fastmath": False})(function), function))


def _cached(compiled: Any, function: Callable[..., Any]) -> Any:
    """Give a compiled function a cache, if a folder for it exists."""
    try:
        compiled._cache = _Cache(function)
    except (RuntimeError, OSError) as error:  # no writable folder
        _warn_uncached(str(error))
    return compiled


def uncached(compiled: Any) -> Any:
    """Return the kernel for types of this process only (a user's loss), compiled without a cache.

    A user's code may raise, so Numba itself releases the GIL around it.
    """
    return _exclusive(_jit(**_ENTRY, nogil=True)(compiled.py_func))


def routine(function: _F) -> _F:
    """Compile ``function`` separately, to be called by address (:mod:`parsgd.kernels.lowlevel.routines`)."""
    return _exclusive(_cached(_jit(**_ROUTINE)(function), function))


@functools.cache
def address_of(compiled: Any, types: tuple[Any, ...]) -> int:
    """Return the address of a routine for arguments of these Numba types, compiling it or loading it from the cache."""
    compiled.compile(types)
    result = compiled.overloads[types]
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def kernel_address(compiled: Any, arguments: tuple[Any, ...]) -> int:
    """Return the address of a kernel for arguments of these types, for calls from other kernels.

    :data:`parsgd.kernels.lowlevel.routines.call_kernel` calls it.
    """
    # as fast as Numba's own calls: `typeof` takes a millisecond for tuples of many arrays
    key = compiled, compute_fingerprint(arguments)
    if key not in _addresses:
        _addresses[key] = _find_address(compiled, arguments)
    return _addresses[key]


_addresses: dict[tuple[Any, bytes], int] = {}


def _find_address(compiled: Any, arguments: tuple[Any, ...]) -> int:
    types = tuple(numba.typeof(argument) for argument in arguments)
    if types not in compiled.overloads:
        compiled.compile(types)
    result = compiled.overloads[types]
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


def cache_folder() -> str | None:
    """Return the folder of the kernel cache; None if no folder is writable."""
    from parsgd.kernels.linear.single import run_sgd_single

    return getattr(run_sgd_single._cache, "cache_path", None)


def _exclusive(compiled: Any) -> Any:
    """Let only one thread compile at a time."""
    compile_types = compiled.compile

    def compile_alone(signature):
        with first_use.exclusive(), _jit_enabled(), _without_garbage_collection(), _announced():
            return compile_types(signature)

    compiled.compile = compile_alone
    return compiled


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause searches for cyclic garbage: Numba creates so many objects that they take a tenth of the compilation."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _CacheFile(IndexDataCacheFile):
    """Numba's files of one kernel, with a data file per key.

    Numba numbers its data files.  Two processes that compile at the same time may take the same number, and one would
    then load the other's code.  With a file per key, the worst case is a lost entry, which is compiled again.
    """

    def _load_index(self):
        """Return the stored entries; none if the index is damaged, or names types of another version of parsgd."""
        try:
            return super()._load_index()
        except Exception:  # unpickling may raise anything
            return {}

    def save(self, key, data):
        digest = hashlib.sha256(f"{self._source_stamp} {key!r}".encode()).hexdigest()
        name = self._data_name(int(digest[:15], 16))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _Cache(FunctionCache):
    """Numba's cache of one kernel, keyed by all kernel sources; an unreadable or full disk is not an error."""

    def __init__(self, function):
        super().__init__(function)
        # one folder for all kernels
        locator = type(self._impl.locator).from_function(function, str(_kernels_folder() / "__init__.py"))
        if locator is not None:
            self._cache_path = locator.get_cache_path()
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, sources_stamp())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file may raise anything
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


def mute_cache_warning() -> None:
    """Emit no :class:`KernelCacheWarning` in this process, a worker whose driver has done so."""
    _warn_once().append(True)


def _warn_uncached(reason: str) -> None:
    if _warn_once():
        return
    _warn_once().append(True)
    warn(
        f"Compiled kernels cannot be cached ({reason}); every process compiles them again, which takes some seconds."
        " Set NUMBA_CACHE_DIR to a folder that can be written to, or run `parsgd compile` where parsgd is installed.",
        KernelCacheWarning,
    )


_depth = 0
_said = False


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Print a line, once per process, if compilation inside the block takes more than a second."""
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
    """Return whether messages about compilation are visible and not yet printed."""
    if _said or sys.stderr is None:
        return False
    with contextlib.suppress(ValueError, OSError):
        return first_use.announce_always or progress.is_observed() or sys.stderr.isatty()
    return False


def _announce() -> None:
    global _said
    _said = True
    said = "parsgd: compiling kernels for this machine; once per machine, some seconds"
    print(f"{said} (`parsgd compile` does it beforehand).", file=MessageStream("stderr"), flush=True)
