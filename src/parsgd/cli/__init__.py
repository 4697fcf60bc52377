"""The command ``parsgd``: fit, predict and evaluate on files."""

from __future__ import annotations

import sys

_NEEDED = ("typer", "rich", "safetensors", "pandas")


def main() -> None:
    """Run the command line; say how to install what it needs if that is missing."""
    try:
        from parsgd.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(f"The command parsgd needs {error.name}: pip install 'parsgd[cli]'", file=sys.stderr)
        sys.exit(1)
    app(prog_name="parsgd")
