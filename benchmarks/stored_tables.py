"""Tables of the documentation that come from one command: stored when it measures, inserted where a page names them.

``python benchmarks/NAME.py --save`` writes ``benchmarks/tables/NAME.md``, and ``python benchmarks/stored_tables.py``
inserts the stored tables into the pages, between two comments::

    <!-- table: NAME -->
    <!-- end of table -->

A test fails if a page differs from what is stored.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "benchmarks" / "tables"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def add_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add ``--save [NAME]``."""
    parser.add_argument(
        "--save", nargs="?", const=name, metavar="NAME", help=f"store the tables for the documentation (NAME: {name})"
    )


def show(tables: str, save: str | None, script: str, libraries: tuple[str, ...] = ("parsgd", "numpy", "numba")) -> None:
    """Print tables, and store them under the name ``save``, if there is one, with date, machine and command."""
    print(tables)
    if save:
        (TABLES / f"{save}.md").write_text(f"{tables.strip()}\n\n<small>{describe(script, libraries)}</small>\n")


def describe(script: str, libraries: tuple[str, ...]) -> str:
    """Return the date, machine, versions, commit and command, with ``DATA_FOLDER`` for the folder of the data."""
    versions = machine.installed()
    names = ", ".join(f"{name} {versions[name]}" for name in libraries if versions[name])
    command = ["python", Path(script).resolve().relative_to(ROOT).as_posix(), *_public(sys.argv[1:])]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.processor()}, {machine.cores()} cores, {names},"
        f" commit {machine.commit()}: `{shlex.join(command)}`."
    )


def _public(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments of the measurement, without files to write; a folder of data has another path elsewhere."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument.startswith("--save"):
            return
        if argument == "--out":
            next(remaining)
        else:
            yield "DATA_FOLDER" if Path(argument).is_dir() else argument


def filled(page: str) -> str:
    """Return the text of a page with the stored tables."""
    return BLOCK.sub(lambda found: found[1] + "\n" + (TABLES / f"{found[2]}.md").read_text() + "\n" + found[3], page)


def names(page: str) -> list[str]:
    """Return the names of the tables of a page."""
    return [found[2] for found in BLOCK.finditer(page)]


def main() -> None:
    """Insert the stored tables into all pages."""
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.read_text()
        if filled(page) != page:
            path.write_text(filled(page))
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
