"""What is known of a run beside the estimator: notes that ``parsgd fit`` leaves in the model file."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

import joblib

import parsgd
from parsgd.errors import ModelFileError

_PACKAGES = {"NumPy": "numpy", "SciPy": "scipy", "Numba": "numba", "scikit-learn": "scikit-learn"}


@dataclass(frozen=True)
class RunMetadata:
    """How a model came about; None or empty: not known.

    ``command`` holds what was typed after ``parsgd``.  ``rows`` and ``test_rows`` were trained and tested on;
    ``columns`` is what the file has, its target apart; ``classes`` counts the training rows of each class.  ``scores``
    were found on the ``"test"``, ``"training"`` or ``"given"`` rows (``scored_on``).  ``seconds`` is the whole fit,
    with checking the data and loading compiled code.  ``said`` is what was done to the columns.
    """

    command: Sequence[str] = ()
    finished: str | None = None
    data: str | None = None
    target: str | None = None
    rows: int | None = None
    test_rows: int | None = None
    columns: int | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    said: Sequence[str] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    scored_on: str | None = None
    seconds: float | None = None
    warnings: Sequence[str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    processors: int | None = None

    def notes(self) -> dict[str, Any]:
        """As plain values, for :func:`parsgd.save`.

        >>> RunMetadata(data="iris").notes()["data"]
        'iris'
        """
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def here() -> dict[str, Any]:
    """The fields of a :class:`RunMetadata` that tell of this moment, this machine and what is installed.

    >>> sorted(here())
    ['finished', 'platform', 'processors', 'versions']
    """
    now = datetime.datetime.now(datetime.UTC)
    versions = {"parsgd": parsgd.__version__, "Python": platform.python_version()}
    for name, package in _PACKAGES.items():
        # packages that were installed otherwise than by an installer do not say
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(package)
    return {
        "finished": now.strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions,
        "platform": platform.platform(),
        "processors": joblib.cpu_count(),
    }


def from_notes(notes: Any) -> RunMetadata:
    """The run that a model file tells of; raises ModelFileError if the notes are none that were written by ``fit``.

    Notes that a later version added are left out.

    >>> from_notes({"data": "iris", "rows": 120}).rows
    120
    """
    known = {field.name for field in fields(RunMetadata)}
    try:
        given = {name: value for name, value in notes.items() if name in known}
        wrong = [name for name, value in given.items() if not _CHECKS[name](value)]
    except (AttributeError, TypeError) as error:
        raise ModelFileError("the notes on its run are damaged. Fit the model again.") from error
    if wrong:
        raise ModelFileError(f"the notes on its run are damaged: {wrong[0]} is {notes[wrong[0]]!r}. Fit it again.")
    return RunMetadata(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _texts(value: Any) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value))


def _count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _table(fine: Any) -> Any:
    return lambda value: (
        isinstance(value, dict) and all(isinstance(key, str) and fine(item) for key, item in value.items())
    )


_CHECKS = {
    "command": _texts, "finished": _text, "data": _text, "target": _text, "rows": _count, "test_rows": _count,
    "columns": _count, "classes": _table(_count), "said": _texts, "scores": _table(_number), "scored_on": _text,
    "seconds": lambda value: value is None or (_number(value) and math.isfinite(value)), "warnings": _texts,
    "versions": _table(lambda value: isinstance(value, str)), "platform": _text, "processors": _count,
}  # fmt: skip
