"""The command ``parsgd``: fit, predict and evaluate on files."""

from __future__ import annotations

import importlib.util
import os
import sys

_NEEDED = ("typer", "rich", "safetensors", "pandas")


def main() -> None:
    """Run the command line; say how to install what it needs if that is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"The command parsgd needs {', '.join(missing)}: pip install 'parsgd[cli]'", file=sys.stderr)
        sys.exit(1)
    from parsgd.cli.app import app

    try:
        app(prog_name="parsgd")
    finally:
        _write_the_rest()


def _write_the_rest() -> None:
    """Write what is still held back, or, where nobody reads any more, let it go: at exit Python would complain."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
