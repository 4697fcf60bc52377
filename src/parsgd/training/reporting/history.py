"""History of a fit: a list of dictionaries, one per round, with conversion to tables.

The keys of an entry::

    round          number of the round, from 0
    epoch          passes over all rows by all workers together, at the end of the round
    seconds        time at which the quorum of reports had arrived, from the start of the fit
    merge_seconds  duration of the merge on the driver
    check_seconds  duration of the following checks: stopping rule, scores, callbacks, new shards
    loss           mean over the examples of the round, each computed just before its step
    score          score of the validation rows at the end of an epoch; otherwise None
    workers        per report: worker, steps, examples, seconds (computing), weight (in the merge),
                   loss, trace ((examples, mean loss, score or None) at the end of each epoch inside the round)
    lost           per lost task: worker, why, replaced

If rounds are shorter than a tenth of an epoch, an entry sums those of a tenth, and ``round`` is the last of them.
Times are those of the engine's clock; a simulated engine has a simulated clock.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, SupportsIndex, TypeGuard, cast, overload

from parsgd.errors import MissingDependencyError, choose

LIBRARIES = ("pandas", "polars")
_ROUNDS = {
    "round": int,
    "epoch": float,
    "seconds": float,
    "merge_seconds": float,
    "check_seconds": float,
    "loss": float,
    "score": float,
    "steps": int,
    "examples": int,
    "n_workers": int,
    "n_lost": int,
}
_WORKERS = {
    "round": int,
    "epoch": float,
    "worker": int,
    "steps": int,
    "examples": int,
    "seconds": float,
    "weight": float,
    "loss": float,
}
_LOST = {"round": int, "worker": int, "why": str, "replaced": bool}
_SUMMED = ("steps", "examples")


class History(list[dict[str, Any]]):
    """The attribute ``history_`` of an estimator: a list with one dictionary per round, and tables of it.

    It behaves as a list in indexing, slices, equality, JSON and pickles.

    Examples
    --------
    >>> from parsgd import LocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SGDClassifier(n_jobs=2, algorithm=LocalSGD(sync_every=1.0), max_iter=3, tol=None).fit(X / 16, y)
    >>> model.history_.to_frame()[["round", "epoch", "examples", "n_workers"]]
       round  epoch  examples  n_workers
    0      0    1.0      1797          2
    1      1    2.0      1797          2
    2      2    3.0      1797          2
    >>> table = model.history_.to_frame("workers")
    >>> table.groupby("worker")["examples"].sum().to_dict()
    {0: 2697, 1: 2694}
    """

    @overload
    def __getitem__(self, place: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> History: ...

    def __getitem__(self, place: SupportsIndex | slice) -> dict[str, Any] | History:
        return History(super().__getitem__(place)) if isinstance(place, slice) else super().__getitem__(place)

    def copy(self) -> History:
        """Return a copy that shares the entries, as :meth:`list.copy` does."""
        return History(self)

    def to_frame(self, kind: str = "rounds", library: str | None = None) -> Any:
        """Return a table as a pandas or polars DataFrame.

        Parameters
        ----------
        kind : {"rounds", "workers", "lost"}
            ``"rounds"``, a row per round: ``round, epoch, seconds, merge_seconds, check_seconds, loss, score, steps,
            examples, n_workers, n_lost``.  Steps and examples are sums over workers; ``n_workers`` counts reports.
            ``"workers"``, a row per worker and round: ``round, epoch, worker, steps, examples, seconds, weight, loss``.
            ``"lost"``, a row per lost task: ``round, worker, why, replaced``.  Missing values, such as scores, are NaN
            (in polars null).
        library : {"pandas", "polars"} or None
            None: pandas, or polars if only that is installed.

        Raises
        ------
        InvalidArgumentError
            For an unknown kind or library.
        MissingDependencyError
            If the library is not installed.
        """
        choose(kind, _TABLES, "kind", "to_frame")
        if library is not None:
            choose(library, LIBRARIES, "library", "to_frame")
        make = _maker(library)
        columns, rows_of = _TABLES[kind]
        rows = [row for entry in self for row in rows_of(entry)]
        return make({name: [row.get(name) for row in rows] for name in columns}, columns)


def problem(history: Any) -> str | None:
    """Return a description of the first error in a history read from a file, or None if it is valid.

    >>> problem([{"round": 0}])
    "history_ has an entry without a number 'epoch'"
    """
    if not _is_list_of_dicts(history):
        return "history_ is not a list of rounds"
    for entry in history:
        required = [(entry, name) for name in ("round", "epoch", "seconds", "loss")]
        for part in ("workers", "lost"):
            rows = entry.get(part, [])
            if not _is_list_of_dicts(rows):
                return f"history_ has an entry with {part} that are not a list"
            names = ("worker", "steps", "examples", "seconds", "weight", "loss") if part == "workers" else ("worker",)
            required += [(row, name) for row in rows for name in names]
            if not all(_is_trace(row.get("trace", [])) for row in rows):
                return "history_ has an entry with an invalid trace"
        lacking = next((name for row, name in required if not _is_number(row.get(name))), None)
        if lacking is not None:
            return f"history_ has an entry without a number {lacking!r}"
    return None


def _is_list_of_dicts(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in cast("list[object]", value))


def _is_trace(value: object) -> bool:
    """Return True for a list of ``(examples, mean loss, score or None)``."""
    return isinstance(value, list) and all(_is_trace_entry(end) for end in cast("list[object]", value))


def _is_trace_entry(value: object) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    entry = cast("Sequence[object]", value)
    if len(entry) != 3:
        return False
    examples, loss, score = entry
    return _is_number(examples) and _is_number(loss) and (score is None or _is_number(score))


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


# -- rows --------------------------------------------------------------------------------------------------------------


def _round_row(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    workers = entry["workers"]
    sums = {name: sum(worker[name] for worker in workers) for name in _SUMMED}
    return [{**entry, **sums, "n_workers": len(workers), "n_lost": len(entry.get("lost", ()))}]


def _worker_rows(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**worker, "round": entry["round"], "epoch": entry["epoch"]} for worker in entry["workers"]]


def _lost_rows(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**lost, "round": entry["round"]} for lost in entry.get("lost", ())]


_TABLES = {"rounds": (_ROUNDS, _round_row), "workers": (_WORKERS, _worker_rows), "lost": (_LOST, _lost_rows)}


# -- libraries ---------------------------------------------------------------------------------------------------------


# Make a table from its columns and their types.
_Maker = Callable[[dict[str, list[Any]], dict[str, type]], Any]


def _maker(library: str | None) -> _Maker:
    """Return a function that creates a table in the given library, or in the first one installed."""
    for name in LIBRARIES if library is None else (library,):
        try:
            return _MAKERS[name](importlib.import_module(name))
        except ImportError:
            continue
    raise MissingDependencyError(f"to_frame needs {library or 'pandas or polars'}: pip install 'parsgd[frames]'")


def _in_pandas(pandas: Any) -> _Maker:
    def make(columns: dict[str, list[Any]], types: dict[str, type]) -> Any:
        def column(values: list[Any], kind: type) -> Any:
            filled = [math.nan if value is None and kind is float else value for value in values]
            # an empty column needs an explicit type
            return pandas.Series(filled, dtype=object if kind is str else kind)

        return pandas.DataFrame({name: column(columns[name], kind) for name, kind in types.items()})

    return make


def _in_polars(polars: Any) -> _Maker:
    kinds: dict[type, Any] = {int: polars.Int64, float: polars.Float64, str: polars.String, bool: polars.Boolean}

    def make(columns: dict[str, list[Any]], types: dict[str, type]) -> Any:
        return polars.DataFrame(columns, schema={name: kinds[types[name]] for name in types})

    return make


_MAKERS = {"pandas": _in_pandas, "polars": _in_polars}
