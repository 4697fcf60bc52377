"""The command ``compile`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from parsgd.cli.options.option_types import AsJson

EXAMPLES = ("parsgd compile --only binary --dense",)


def compile(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="KIND", help="binary, multiclass, softmax, regression or network; repeatable."),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Compile for dense rows only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels of common fits, and print the cache folder.

    Without options it compiles for all common fits, which takes one to three minutes.

    Without this command the first fit of each kind compiles for some seconds; later fits read the cache, also in other
    processes.  Run it when an image is built or the package is installed.  NUMBA_CACHE_DIR sets another cache folder.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.precompile import compile_kernels

    console, compiled = Console(quiet=as_json), []

    def show(line: str) -> None:
        compiled.append(line)
        console.print(f"Compiling: {line}")

    folder = compile_kernels(only or None, sparse=not dense, progress=show)
    console.print(f"Compiled kernels are in {folder}." if folder else "No folder is writable for the kernel cache.")
    if as_json:
        print_json({"folder": folder, "compiled": compiled})
