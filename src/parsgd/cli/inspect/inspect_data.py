"""What data hold: rows, columns and their kinds, what is missing, and which columns may be targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.console import Console
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables.learn_columns import EncodingOptions, kind_of
from parsgd.data.columns.arrow_values import kind_of_type, numbers_in, texts_in
from parsgd.data.columns.column_stats import batches
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.columns.numeric import arrow, flat
from parsgd.errors import DataFileError

# Nothing more of large data than this many rows is looked at.
_ROWS = 100_000
_MOST_CLASSES = 20
# What targets are often called.
_NAMES = ("target", "label", "labels", "y", "class", "outcome", "response")
_MOST_CANDIDATES = 5


def data(name: str, voice: Console, options: EncodingOptions | None = None) -> dict[str, Any]:
    """The report; told in words, too.  Raises DataFileError if it cannot be read."""
    seen = files.read(name, options)
    report: dict[str, Any] = {
        "data": name,
        "rows": seen.n_rows,
        "columns": seen.n_columns,
        "test_rows": None if seen.test is None else seen.test.n_rows,
        "bytes": Path(name).stat().st_size if Path(name).is_file() else None,
    }
    report |= table(seen) if seen.is_table else sparse_rows(seen)
    tell(report, seen, voice)
    return report


def sparse_rows(seen: files.Data) -> dict[str, Any]:
    """Of svmlight rows, at most 100,000 of them."""
    some = seen.dataset.take(min(_ROWS, seen.n_rows))
    return {
        "seen_rows": some.x.shape[0],
        "layout": "sparse",
        "dtype": str(some.x.dtype),
        "missing": 0,
        "stored": int(some.x.nnz),
        "target": described(arrow().chunked_array([some.y]), "target", seen.name),
    }


def table(seen: files.Data) -> dict[str, Any]:
    """Of the columns of at most 100,000 rows, and those that may be targets."""
    pa, names = arrow(), tuple(seen.schema.names)
    found = [batch for _, batch in batches(seen.dataset.pieces, PassThroughEncoder(names), sample=True)]
    each = -(-_ROWS // len(found))
    rows = pa.Table.from_batches([batch.slice(0, each) for batch in found])
    columns = [described(rows.column(name), name, seen.name) for name in names]
    target = next((column for column in columns if column["name"] == seen.target), None)
    columns = [column for column in columns if column is not target]
    missing = sum(column["missing"] for column in columns)
    report = {"seen_rows": rows.num_rows, "missing": missing, "target": target}
    if seen.dtype is not None:
        stored = rows.num_rows * len(columns)
        return report | {"layout": "dense", "dtype": seen.dtype, "stored": stored}
    likely = [] if target is not None else candidates(columns, rows.num_rows)
    return report | {"layout": "table", "kinds": columns, "candidates": likely}


def described(column: Any, name: str, where: str) -> dict[str, Any]:
    """Kind, gaps, and how many different values: of one column."""
    try:
        kind = kind_of(column, name, EncodingOptions(), where)
    except DataFileError:
        # what cannot be learned from, such as lists
        return {"name": name, "kind": "other", "missing": column.null_count, "different": None}
    column = flat(column)
    if kind_of_type(column.type) == "number" and not arrow().types.is_dictionary(column.type):
        numbers = numbers_in(column, name)
        known = numbers[~np.isnan(numbers)]
        return {"name": name, "kind": kind, "missing": len(numbers) - len(known), "different": len(np.unique(known))}
    codes, texts = texts_in(column, name)
    different = {texts[code] for code in np.unique(codes[codes >= 0])}
    return {"name": name, "kind": kind, "missing": int(np.sum(codes < 0)), "different": len(different)}


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


def tell(report: dict[str, Any], seen: files.Data, voice: Console) -> None:
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
