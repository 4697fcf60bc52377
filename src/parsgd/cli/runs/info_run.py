"""``parsgd info``: find out what is asked about, and tell of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from parsgd.checkpointing.store import ENDING
from parsgd.cli.console import Console


def run(what: str | None, voice: Console, options: Any = None) -> dict[str, Any]:
    """Do what was asked; return the report that ``--json`` prints."""
    kind = kind_of(what)
    if kind == "machine":
        from parsgd.cli.inspect import inspect_machine as about

        return {"kind": kind} | about.machine(voice)
    if kind == "checkpoints":
        from parsgd.cli.inspect import inspect_checkpoints as about

        return {"kind": kind} | about.checkpoints(Path(what), voice)
    if kind == "model":
        from parsgd.cli.inspect import inspect_model as about

        return {"kind": kind} | about.model(Path(what), voice)
    from parsgd.cli.inspect import inspect_data as about

    return {"kind": kind} | about.data(what, voice, options)


def kind_of(what: str | None) -> str:
    """``machine``, ``model``, ``checkpoints`` or ``data``.

    >>> kind_of(None), kind_of("iris"), kind_of("table.csv")
    ('machine', 'data', 'data')
    """
    from parsgd.cli.tables.data_arrays import BUILT_IN
    from parsgd.cli.tables.read_data import PIPE, readable
    from parsgd.data.formats.paths import is_address

    if what is None:
        return "machine"
    path = Path(what)
    if path.is_dir():
        return "checkpoints" if any(name.endswith(ENDING) for name in os.listdir(path)) else "data"
    if path.name.endswith(ENDING):
        return "checkpoints"
    data = what in (*BUILT_IN, PIPE) or is_address(what) or readable(path) or not path.exists()
    return "data" if data else "model"
