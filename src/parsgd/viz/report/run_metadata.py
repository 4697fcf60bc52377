"""Run metadata that ``parsgd fit`` stores in the model file, beside the estimator."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import joblib

import parsgd
from parsgd.errors import ModelFileError

# Fields that model files of version 0.1 call otherwise.
_FORMER_NAMES = {"said": "encoding"}
_PACKAGES = {"NumPy": "numpy", "SciPy": "scipy", "Numba": "numba", "scikit-learn": "scikit-learn"}


@dataclass(frozen=True)
class RunMetadata:
    """Metadata of a run; unknown values are None or empty.

    ``command`` has the arguments after ``parsgd``.  ``rows`` and ``test_rows`` count training and test rows;
    ``columns`` counts the columns of the file without the target; ``classes`` counts the training rows of each class.
    ``scored_on`` gives the rows of ``scores``: ``"test"``, ``"training"`` or ``"given"``.  ``seconds`` is the time of
    the whole fit, including data checks and loading of compiled code.  ``encoding`` has notes about the columns.
    ``tuned`` has the mean score of each setting that a search tried, by names such as ``"alpha=0.1, eta0=1"``.
    """

    command: Sequence[str] = ()
    finished: str | None = None
    data: str | None = None
    target: str | None = None
    rows: int | None = None
    test_rows: int | None = None
    columns: int | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    encoding: Sequence[str] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    scored_on: str | None = None
    seconds: float | None = None
    warnings: Sequence[str] | None = None
    tuned: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    processors: int | None = None

    def notes(self) -> dict[str, Any]:
        """Return plain values for :func:`parsgd.save`.

        >>> RunMetadata(data="iris").notes()["data"]
        'iris'
        """
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def here() -> dict[str, Any]:
    """Return the fields of :class:`RunMetadata` about the current time, machine and package versions.

    >>> sorted(here())
    ['finished', 'platform', 'processors', 'versions']
    """
    now = datetime.datetime.now(datetime.UTC)
    versions = {"parsgd": parsgd.__version__, "Python": platform.python_version()}
    for name, package in _PACKAGES.items():
        # a package without installation metadata has no version here
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(package)
    return {
        "finished": now.strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions,
        "platform": platform.platform(),
        "processors": joblib.cpu_count(),
    }


def from_notes(notes: Mapping[str, Any]) -> RunMetadata:
    """Return the run metadata of a model file; raise ModelFileError if they are damaged.

    Unknown fields, such as those of a later version, are ignored.

    >>> from_notes({"data": "iris", "rows": 120}).rows
    120
    """
    hints = get_type_hints(RunMetadata)
    try:
        renamed = {_FORMER_NAMES.get(name, name): value for name, value in notes.items()}
        given = {name: value for name, value in renamed.items() if name in hints}
        wrong = [name for name, value in given.items() if not _fits(value, hints[name])]
        wrong += ["seconds"] * (not wrong and not math.isfinite(given.get("seconds") or 0.0))
    except (AttributeError, TypeError) as error:
        raise ModelFileError("the run metadata are damaged. Fit the model again.") from error
    if wrong:
        problem = f"invalid {wrong[0]} {given[wrong[0]]!r}"
        raise ModelFileError(f"the run metadata are damaged: {problem}. Fit the model again.")
    return RunMetadata(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _fits(value: Any, hint: Any) -> bool:
    """Return True if the value suits a type hint of :class:`RunMetadata`; counts must not be negative."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(_fits(value, one) for one in arguments)
    if origin is Mapping:
        texts = isinstance(value, dict) and all(isinstance(key, str) for key in value)
        return texts and all(_fits(item, arguments[1]) for item in value.values())
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        number = isinstance(value, int if hint is int else Real) and not isinstance(value, bool)
        return number and (hint is float or value >= 0)
    return isinstance(value, hint)
