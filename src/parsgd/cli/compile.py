"""The command ``compile`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = (
    "parsgd compile",
    "parsgd compile --only binary --only softmax --dense",
)


def compile(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="KIND", help="binary, multiclass, softmax, regression or network; may be repeated."
        ),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Compile for dense rows only, not for sparse ones.")] = False,
) -> None:
    """Compile the kernels of common fits now, and print where they are kept.

    The first fit of a kind compiles for some seconds; later fits, in other processes too, read the result from a cache.
    Run this where an image is built or a package is installed.  NUMBA_CACHE_DIR names another folder for the cache.
    """
    from parsgd.cli.speaking import Voice
    from parsgd.precompile import compile_kernels

    voice = Voice()
    folder = compile_kernels(only or None, sparse=not dense, progress=lambda line: voice.say(f"Compiling: {line}"))
    voice.say(f"Compiled kernels are in {folder}." if folder else "There is no folder in which kernels can be kept.")
