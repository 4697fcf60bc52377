"""Studies that store their readings: command line, files, and the record of each run."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.markdown import number

ROOT = Path(__file__).resolve().parents[1]
Stored = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class StoredStudy:
    """A study whose page is written from stored readings, an entry for each part: a data set, problem or series.

    ``name`` is that of the script.  The readings are in ``studies/readings/NAME.json``, and observations, written by
    hand, in the ``.md`` file beside them.  The page is ``docs/results/NAME.md`` with dashes for underscores.
    ``generated`` studies need no real data.  ``libraries`` are those whose versions the page names, if they are
    installed.
    """

    name: str
    one_core: bool = False
    generated: bool = False
    libraries: tuple[str, ...] = ("parsgd", "numpy", "numba", "scikit-learn")

    @property
    def stored(self) -> Path:
        return ROOT / "studies" / "readings" / f"{self.name}.json"

    @property
    def page(self) -> Path:
        return ROOT / "docs" / "results" / f"{self.name.replace('_', '-')}.md"

    def observations(self) -> str:
        """Return the observations; empty if none are written."""
        written = self.stored.with_suffix(".md")
        return written.read_text() if written.exists() else ""

    def parser(self, description: str, parts: Iterable[str], part: str, quick: str) -> argparse.ArgumentParser:
        """Return the parser of the command line; ``part`` is the word for a part, ``quick`` the size of a quick run."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        add, parts = parser.add_argument, list(parts)
        add("folder", nargs="?", type=Path, help="folder of the real data; not needed with --quick")
        add("--only", nargs="+", choices=parts, default=parts, metavar=part)
        add("--quick", action="store_true", help=f"{quick}; no measurement")
        add("--page-only", action="store_true", help="write the page from the stored readings")
        add("--stored", type=Path, help=f"JSON file of the readings (default: studies/readings/{self.stored.name})")
        add("--out", type=Path, help=f"the page (default: docs/results/{self.page.name}); its picture is beside it")
        return parser

    def parse(self, parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
        """Parse the command line, with the defaults of the files; ``folder`` is None in a quick run."""
        given = parser.parse_args(arguments)
        if given.quick and None in (given.stored, given.out):
            parser.error("--quick needs --stored and --out, because it measures nothing")
        if given.folder is None and not (self.generated or given.quick or given.page_only):
            parser.error("a folder of real data is needed, except with --quick and --page-only")
        given.stored, given.out = given.stored or self.stored, given.out or self.page
        given.folder = None if given.quick else given.folder
        return given

    def measure(self, given: argparse.Namespace, measure: Callable[[str, Stored], dict[str, Any]]) -> Stored:
        """Measure the parts of the command line, store each at once, and return all stored entries."""
        stored: Stored = json.loads(given.stored.read_text()) if given.stored.exists() else {}
        for name in () if given.page_only else given.only:
            began = time.perf_counter()
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                # fits of a few passes have not converged, and rates that are too large overflow
                warnings.simplefilter("ignore")
                entry = measure(name, stored)
            seconds = time.perf_counter() - began
            stored[name] = {**entry, "about": self.about(name, seconds)}
            # an interrupted run keeps what it has
            given.stored.write_text(_lines(stored))
            print(f"{name}: {seconds:.0f} s", flush=True)
        return stored

    def about(self, part: str, seconds: float) -> dict[str, Any]:
        """Return the date, machine, versions and command of a run."""
        versions = machine.installed()
        names = ", ".join(f"{name} {versions[name]}" for name in self.libraries if versions[name])
        cores = "one core" if self.one_core else f"{machine.cores()} cores"
        where = f"{machine.processor()}, {cores}, {number(machine.memory_bytes() / 1e9)} GB"
        text = f"{datetime.now(UTC):%Y-%m-%d}, {where},\nPython {sys.version.split()[0]}, {names}."
        data = "" if self.generated else " DATA_FOLDER"
        command = f"python studies/{self.name}.py{data} --only {part}"
        return {"text": text, "commit": machine.commit(), "seconds": round(seconds, 1), "command": command}

    def write(self, given: argparse.Namespace, stored: Stored, page: Callable[[Stored, str], str]) -> None:
        """Write the page, which ``page`` makes from the readings and the observations."""
        given.out.write_text(page(stored, "" if given.quick else self.observations()))


def _lines(stored: Stored) -> str:
    """Return the entries as JSON, a line each."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in stored.items()) + "\n}\n"
