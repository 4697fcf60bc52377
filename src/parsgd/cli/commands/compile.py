"""``parsgd compile``: compile kernels in advance."""

from __future__ import annotations

from typing import Annotated

from parsgd.cli.console import Console
from parsgd.cli.options import AsJson, option

EXAMPLES = ("parsgd compile --only binary --dense",)


def compile(
    only: Annotated[
        list[str] | None, option("binary, multiclass, softmax, regression or network; repeatable.", metavar="KIND")
    ] = None,
    dense: Annotated[bool, option("Compile for dense rows only.", "--dense")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels of common fits, and print the cache folder.

    Without options it compiles for all common fits, which takes one to three minutes.

    Without this command the first fit of each kind compiles for some seconds; later fits read the cache, also in other
    processes.  Run it when an image is built or the package is installed.  NUMBA_CACHE_DIR sets another cache folder.
    """
    from parsgd.precompile import compile_kernels

    console, compiled = Console(as_json), []

    def show(line: str) -> None:
        compiled.append(line)
        console.print(f"Compiling: {line}")

    folder = compile_kernels(only or None, sparse=not dense, progress=show)
    console.print(f"Compiled kernels are in {folder}." if folder else "No folder is writable for the kernel cache.")
    console.print_json({"folder": folder, "compiled": compiled})
