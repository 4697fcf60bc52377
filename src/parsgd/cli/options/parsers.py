"""Quantities as they are typed: times with their units, one value for each of many workers, and failures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from parsgd.cli.cli_errors import UsageError

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_TIME = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)\s*")


def seconds(text: str, option: str) -> float:
    """A time in seconds.

    >>> [seconds(text, "--latency") for text in ("5ms", "0.2s", "3", "2min")]
    [0.005, 0.2, 3.0, 120.0]
    """
    matched = _TIME.fullmatch(text.lower())
    unit = matched[2] if matched else ""
    try:
        if matched and unit in _UNITS:
            return float(matched[1]) * _UNITS[unit]
    except ValueError:
        pass
    raise UsageError(f"{option} {text}: write a time from 0 on, such as 5ms, 0.2s or 2min, in us, ms, s, min or h.")


def in_words(time_s: float) -> str:
    """A short time in the unit that fits it.

    >>> in_words(0.0000042), in_words(0.0421), in_words(2.5), in_words(90)
    ('4.2 µs', '42.1 ms', '2.5 s', '90 s')
    """
    unit, size = unit_of(time_s)
    return f"{time_s / size:.3g} {unit}"


def unit_of(time_s: float) -> tuple[str, float]:
    """The unit in which a time is easiest to read, and its size in seconds."""
    return next(((unit, _UNITS[unit]) for unit in ("s", "ms") if time_s >= _UNITS[unit] or time_s == 0), ("µs", 1e-6))


def number(text: str, option: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(
            f"{option} {text}: write numbers above 0, such as {option} 1,1,0.5,0.1 or {option} 1x900,0.1x100"
        )
    return value


def counts(text: str, option: str) -> list[int]:
    """Whole numbers from 1 on, with commas between them.

    >>> counts("1,2, 64", "--workers")
    [1, 2, 64]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}: write whole numbers from 1 on, such as {option} 1,2,8.")
    return [int(part) for part in parts]


def each(text: str, option: str, read: Callable[[str, str], float]) -> list[float]:
    """Values with commas between them; ``x`` and a count repeat one.

    >>> each("1x3,0.1", "--speeds", number)
    [1.0, 1.0, 1.0, 0.1]
    """
    values: list[float] = []
    for part in text.split(","):
        value, times, count = part.strip().partition("x")
        if times and not (count.strip().isdecimal() and int(count) > 0):
            raise UsageError(f"{option} {text}: after x comes how often, such as 0.1x100; got {part.strip()!r}.")
        values += [read(value, option)] * (int(count) if times else 1)
    return values


def failures(texts: Sequence[str], n_workers: int) -> dict[int, float]:
    """Worker -> seconds, of ``WORKER:TIME`` or ``FIRST-LAST:TIME`` with commas between them.

    >>> failures(["3:2.5s,0-1:5ms"], 4)
    {3: 2.5, 0: 0.005, 1: 0.005}
    """
    found: dict[int, float] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        matched = re.fullmatch(r"(\d+)(?:-(\d+))?:(.+)", part)
        if not matched:
            raise UsageError(f"--failures {part}: write WORKER:TIME, such as 3:2.5s, or 0-99:2.5s for many.")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if not first <= last < n_workers:
            raise UsageError(f"--failures {part}: there are {n_workers} workers, 0 to {n_workers - 1}.")
        found |= dict.fromkeys(range(first, last + 1), seconds(matched[3], "--failures"))
    return found
