"""The command ``compile`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from parsgd.cli.options.option_types import AsJson

EXAMPLES = ("parsgd compile --only binary --dense",)


def compile(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="KIND", help="binary, multiclass, softmax, regression or network; may be repeated."
        ),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Compile for dense rows only, not for sparse ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels of common fits now, and print where they are kept.

    Without options it compiles for all common fits, for one to three minutes.

    The first fit of a kind compiles for some seconds; later fits, in other processes too, read the result from a cache.
    Run this where an image is built or a package is installed.  NUMBA_CACHE_DIR names another folder for the cache.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.precompile import compile_kernels

    voice, compiled = Console(quiet=as_json), []

    def show(line: str) -> None:
        compiled.append(line)
        voice.say(f"Compiling: {line}")

    folder = compile_kernels(only or None, sparse=not dense, progress=show)
    voice.say(f"Compiled kernels are in {folder}." if folder else "There is no folder in which kernels can be kept.")
    if as_json:
        print_json({"folder": folder, "compiled": compiled})
