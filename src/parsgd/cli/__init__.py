"""The command ``parsgd``: fit, predict and evaluate on files."""

from __future__ import annotations

import importlib.util
import sys

_REQUIRED = ("typer", "rich", "safetensors", "pandas")


def main() -> None:
    """Run the command line, or print how to install the missing packages."""
    missing = [name for name in _REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"The command parsgd needs {', '.join(missing)}: pip install 'parsgd[cli]'", file=sys.stderr)
        sys.exit(1)
    from parsgd.cli import output
    from parsgd.cli.app import app
    from parsgd.utils import first_use
    from parsgd.utils.streams import MessageStream

    first_use.announce_always = True
    output.prepare()
    try:
        app(prog_name="parsgd")
    except OSError as error:
        # raised while printing help or the version; commands report their own errors
        print(f"Error: standard output: {error.strerror or error}", file=MessageStream("stderr"))
        sys.exit(1)
    finally:
        output.finish()
