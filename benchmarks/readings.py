"""What was measured, as plain records, and the JSON file that keeps them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import Spread


@dataclass(frozen=True)
class Reading:
    """One solver on one problem.

    `figure`, `problem`, `solver` and `setting` say what was run; `values` are what came out in each turn, in `unit`
    ("s", "rows/s", "of the limit", ...).  `ratio` compares with `peer`, turn by turn, so that more is better for us.
    A reading may have a `target`, which the page does not show: `judged`, which is the ratio's median or else the
    median of the values, must be at least `target`, or at most it (`at_most`).  One that could not be taken has
    neither values nor a ratio, and a `note` why; `note` may say anything else about the reading, too.
    """

    figure: str
    problem: str
    solver: str
    setting: str = ""
    unit: str = ""
    values: tuple[float, ...] = ()
    ratio: Spread | None = None
    peer: str = ""
    target: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def judged(self) -> float | None:
        return self.ratio.median if self.ratio is not None else self.median

    @property
    def met(self) -> bool | None:
        """Whether the target holds; None without a target or a measurement."""
        if self.target is None or self.judged is None:
            return None
        return self.judged <= self.target if self.at_most else self.judged >= self.target


@dataclass(frozen=True)
class Taken:
    """The readings of one figure, and when, where and at which commit they were taken."""

    commit: str
    time: str
    n_turns: int
    machine: dict
    readings: tuple[Reading, ...] = ()
    seconds: float = 0.0
    failed: str = ""
    quick: bool = False


def load(path: Path) -> dict[str, Taken]:
    """By figure; empty if there is no such file yet."""
    if not path.exists():
        return {}
    return {figure: _taken(entry) for figure, entry in json.loads(path.read_text()).items()}


def _taken(entry: dict) -> Taken:
    return Taken(**{**entry, "readings": tuple(_reading(row) for row in entry["readings"])})


def _reading(row: dict) -> Reading:
    ratio = None if row["ratio"] is None else Spread(*row["ratio"])
    return Reading(**{**row, "values": tuple(row["values"]), "ratio": ratio})


def save(path: Path, taken: dict[str, Taken]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({figure: asdict(entry) for figure, entry in sorted(taken.items())}, indent=1)
    path.write_text(text + "\n")


def select(readings: Iterable[Reading], **wanted: object) -> list[Reading]:
    """Those whose fields are as given: `select(readings, problem="adult", solver="parsgd")`."""
    return [reading for reading in readings if all(getattr(reading, key) == value for key, value in wanted.items())]
