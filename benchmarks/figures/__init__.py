"""Figures of the page, a file each.

A figure is a module with

- `TITLE`, the heading of its section, and a docstring that says what is compared with what;
- `measure(options) -> list[Reading]`, which takes the readings (`options`: `benchmarks.options.Options`);
- `describe(readings) -> str`, its section in Markdown, and `draw(readings, folder) -> list[Path]`, its pictures.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

# as on the page; one that is not named here comes last
ORDER = (
    "equal_work",
    "time_to_loss",
    "networks",
    "time_to_accuracy",
    "limits",
    "curves",
    "startup",
    "small_things",
    "files",
    "clusters",
)


def names() -> list[str]:
    """All figures, in the order of the page."""
    found = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__"}
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def load(name: str) -> ModuleType:
    """The module of one figure."""
    return importlib.import_module(f"benchmarks.figures.{name}")
