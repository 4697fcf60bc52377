"""What data hold: rows, columns and their kinds, what is missing, and which columns may be targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.console import Console
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables import streamed_tables
from parsgd.cli.tables.encoding import EncodingOptions, kind_of
from parsgd.cli.tables.file_readers import Data
from parsgd.data.columns.column_stats import batches
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.open_dataset import open_dataset
from parsgd.errors import DataFileError

# Nothing more of large data than this many rows is looked at.
_ROWS = 100_000
_MOST_CLASSES = 20
# What targets are often called.
_NAMES = ("target", "label", "labels", "y", "class", "outcome", "response")
_MOST_CANDIDATES = 5


def data(name: str, voice: Console) -> dict[str, Any]:
    """The report; told in words, too.  Raises DataFileError if it cannot be read."""
    if streamed_tables.why((name,), None) is None:
        seen = files.read(name)
        n_rows = seen.n_rows
    else:
        seen, n_rows = sample_of(name)
    report: dict[str, Any] = {
        "data": name,
        "rows": n_rows,
        "columns": seen.features.shape[1],
        "seen_rows": seen.n_rows,
        "test_rows": None if seen.test is None else seen.test.n_rows,
        "bytes": Path(name).stat().st_size if Path(name).is_file() else None,
    }
    report |= table(seen) if seen.is_table else matrix(seen)
    tell(report, seen, voice)
    return report


class _Looking:
    """In place of a learner of columns: keeps the rows that it was shown."""

    texts: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.frame: Any = None

    def learn(self, columns: tuple[str, ...], pieces: Sequence[Any]) -> PassThroughEncoder:
        import pyarrow as pa

        sample = [batch for _, batch in batches(pieces, PassThroughEncoder(columns, ()), sample=True)]
        each = -(-_ROWS // max(len(sample), 1))
        if sample:
            self.frame = pa.Table.from_batches([batch.slice(0, each) for batch in sample]).to_pandas()
        return PassThroughEncoder(columns, ())


def sample_of(name: str) -> tuple[Data, int]:
    """Some rows of data that are large, or in several files, and how many rows there are."""
    looking = _Looking()
    dataset = open_dataset(name) if streamed_tables.is_svmlight(name) else open_dataset(name, columns=looking)
    if looking.frame is not None:
        return Data(name, looking.frame), dataset.n_rows
    some = dataset.take(min(_ROWS, dataset.n_rows))
    return Data(name, some.x, some.y), dataset.n_rows


def matrix(seen: Data) -> dict[str, Any]:
    """Of rows whose columns have no names."""
    values = seen.features.data if hasattr(seen.features, "indptr") else seen.features
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    stored = seen.features.nnz if hasattr(seen.features, "indptr") else seen.features.size
    report = {"layout": "sparse" if hasattr(seen.features, "indptr") else "dense", "dtype": str(values.dtype)}
    return report | {"missing": missing, "stored": int(stored), "target": None if seen.target is None else of(seen)}


def of(seen: Data) -> dict[str, Any]:
    """Of the target that data bring along."""
    import pandas as pd

    return described(pd.Series(seen.target), "target", seen.name)


def table(seen: Data) -> dict[str, Any]:
    """Of columns with names, and those that may be targets."""
    found = [described(seen.features[name], name, seen.name) for name in seen.features.columns]
    target = None if seen.target is None else of(seen)
    return {
        "layout": "table",
        "missing": sum(column["missing"] for column in found),
        "kinds": found,
        "target": target,
        "candidates": [] if target is not None else candidates(found, seen.n_rows),
    }


def described(column: Any, name: str, where: str) -> dict[str, Any]:
    """Kind, gaps, and how many different values: of one column."""
    try:
        kind = kind_of(column, name, EncodingOptions(), where)
        different = int(column.nunique())
    except (DataFileError, TypeError):
        # what cannot be learned from, such as lists
        return {"name": name, "kind": "other", "missing": int(column.isna().sum()), "different": None}
    return {"name": name, "kind": kind, "missing": int(column.isna().sum()), "different": different}


def candidates(columns: Sequence[dict[str, Any]], n_rows: int) -> list[dict[str, str]]:
    """Columns that may be targets, the likeliest first: by their names, then the last ones."""
    fit = []
    for at, column in enumerate(columns):
        different = column["different"] or 0
        if column["kind"] not in ("number", "category") or different < 2 or column["missing"] * 2 > n_rows:
            continue
        classes = column["kind"] == "category" or different <= min(_MOST_CLASSES, n_rows // 2)
        if column["kind"] == "category" and different > max(_MOST_CLASSES, n_rows // 10):
            continue
        why = f"{different:,} classes" if classes else f"numbers, {different:,} different ones"
        model = "sgd-classifier" if classes else "sgd-regressor"
        fit.append((column["name"].lower() not in _NAMES, -at, {"column": column["name"], "model": model, "why": why}))
    return [found for _, _, found in sorted(fit, key=lambda item: item[:2])][:_MOST_CANDIDATES]


def tell(report: dict[str, Any], seen: Data, voice: Console) -> None:
    """The same in words."""
    part = "" if report["seen_rows"] == report["rows"] else f" (a sample of {report['seen_rows']:,} was looked at)"
    voice.say(f"{report['data']}: {report['rows']:,} rows, {report['columns']:,} columns{part}", style="bold")
    voice.points(seen.said)
    if "kinds" in report:
        rows = [(c["name"], c["kind"], f"{c['missing']:,}", _count(c["different"])) for c in report["kinds"][:50]]
        voice.table("columns", ("name", "kind", "missing", "different"), rows)
        if report["kinds"][50:]:
            voice.say(f"and {len(report['kinds']) - 50:,} more columns")
    else:
        voice.say(f"{report['layout']} {report['dtype']}, {report['stored']:,} stored, {report['missing']:,} missing")
    if report["target"] is not None:
        voice.say(f"target:     comes with the data; {_count(report['target']['different'])} different values")
    for found in report.get("candidates", []):
        voice.say(f"target?     --target {found['column']} --model {found['model']} ({found['why']})")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
