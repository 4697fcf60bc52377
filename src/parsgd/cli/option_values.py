"""Parsers and checks of option values: parameters, counts, times with units, values per worker, failures, folders."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parsgd.cli.cli_errors import UsageError

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_TIME = re.compile(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)\s*")


def parse_parameter(value: Any) -> Any:
    """Convert text to the value of a parameter: None, a boolean, a number or JSON, otherwise the text itself."""
    if not isinstance(value, str):
        return value
    constants = {"none": None, "null": None, "true": True, "false": False}
    if value.lower() in constants:
        return constants[value.lower()]
    for read in (json.loads, float):
        with contextlib.suppress(ValueError):
            return read(value)
    return value


def parse_assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse the values of ``--set NAME=VALUE``."""
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not (name and value):
            raise UsageError(f"--set {pair}: write NAME=VALUE, such as --set l1_ratio=0.3")
        found[name.strip()] = parse_parameter(value.strip())
    return found


def check_folder(path: Path, option: str) -> None:
    """Raise UsageError unless the folder of a file to write exists."""
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: the folder {path.parent} does not exist; create it: mkdir -p {path.parent}")


def parse_seconds(text: str, option: str) -> float:
    """Parse a time; return seconds.

    >>> [parse_seconds(text, "--latency") for text in ("5ms", "0.2s", "3", "2min")]
    [0.005, 0.2, 3.0, 120.0]
    """
    matched = _TIME.fullmatch(text.lower())
    if matched and matched[2] in _UNITS:
        return float(matched[1]) * _UNITS[matched[2]]
    raise UsageError(f"{option} {text}: give a time of 0 or more in us, ms, s, min or h, such as 5ms, 0.2s or 2min.")


def parse_number(text: str, option: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(
            f"{option} {text}: give numbers above 0, such as {option} 1,1,0.5,0.1 or {option} 1x900,0.1x100"
        )
    return value


def parse_counts(
    text: str, option: str = "--workers", expected: str = "integers of 1 or more, such as --workers 1,2,8."
) -> list[int]:
    """Parse comma-separated integers of 1 or more; ``expected`` is for the error message.

    >>> parse_counts("1,2, 64")
    [1, 2, 64]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}: give {expected}")
    return [int(part) for part in parts]


def parse_values(text: str, option: str, read: Callable[[str, str], float]) -> list[float]:
    """Parse comma-separated values; ``x`` and a count repeat a value.

    >>> parse_values("1x3,0.1", "--speeds", parse_number)
    [1.0, 1.0, 1.0, 0.1]
    """
    values: list[float] = []
    for part in text.split(","):
        value, times, count = part.strip().partition("x")
        if times and not (count.strip().isdecimal() and int(count) > 0):
            raise UsageError(f"{option} {text}: give a count after x, such as 0.1x100; got {part.strip()!r}.")
        values += [read(value, option)] * (int(count) if times else 1)
    return values


def parse_failures(texts: Sequence[str], n_workers: int) -> dict[int, float]:
    """Parse comma-separated ``WORKER:TIME`` or ``FIRST-LAST:TIME``; return seconds by worker.

    >>> parse_failures(["3:2.5s,0-1:5ms"], 4)
    {3: 2.5, 0: 0.005, 1: 0.005}
    """
    found: dict[int, float] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        matched = re.fullmatch(r"(\d+)(?:-(\d+))?:(.+)", part)
        if not matched:
            raise UsageError(f"--failures {part}: give WORKER:TIME, such as 3:2.5s, or a range such as 0-99:2.5s.")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if not first <= last < n_workers:
            raise UsageError(f"--failures {part}: workers are numbered 0 to {n_workers - 1}.")
        found |= dict.fromkeys(range(first, last + 1), parse_seconds(matched[3], "--failures"))
    return found
