"""Report on data: rows, columns, their kinds, missing values and possible targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.console import Console
from parsgd.cli.option_groups import FileOptions
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables.learn_columns import infer_kind
from parsgd.data.columns.arrow_values import numbers_in, texts_in
from parsgd.data.columns.column_stats import batches
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.columns.numeric import arrow, flat, kind_of_type
from parsgd.errors import DataFileError

# Rows of a sample of large data.
_MAX_ROWS = 100_000
_MAX_CLASSES = 20
# Common names of targets.
_NAMES = ("target", "label", "labels", "y", "class", "outcome", "response")
_MAX_CANDIDATES = 5


def describe_data(name: str, console: Console, options: FileOptions | None = None) -> dict[str, Any]:
    """Print and return the report; raise DataFileError if the data cannot be read."""
    seen = files.read(name, options)
    report: dict[str, Any] = {
        "data": name,
        "rows": seen.n_rows,
        "columns": seen.n_columns,
        "test_rows": None if seen.test is None else seen.test.n_rows,
        "bytes": Path(name).stat().st_size if Path(name).is_file() else None,
    }
    report |= describe_table(seen) if seen.is_table else describe_sparse(seen)
    print_report(report, seen, console)
    return report


def describe_sparse(seen: files.Data) -> dict[str, Any]:
    """Return facts about svmlight data from at most 100,000 rows."""
    some = seen.dataset.take(min(_MAX_ROWS, seen.n_rows))
    return {
        "seen_rows": some.x.shape[0],
        "layout": "sparse",
        "dtype": str(some.x.dtype),
        "missing": 0,
        "stored": int(some.x.nnz),
        "target": describe_column(arrow().chunked_array([some.y]), "target", seen.name),
    }


def describe_table(seen: files.Data) -> dict[str, Any]:
    """Return facts about a table from at most 100,000 rows, and its possible targets."""
    pa, names = arrow(), tuple(seen.schema.names)
    found = [batch for _, batch in batches(seen.dataset.pieces, PassThroughEncoder(names), sample=True)]
    each = -(-_MAX_ROWS // len(found))
    rows = pa.Table.from_batches([batch.slice(0, each) for batch in found])
    columns = [describe_column(rows.column(name), name, seen.name) for name in names]
    target = next((column for column in columns if column["name"] == seen.target), None)
    columns = [column for column in columns if column is not target]
    missing = sum(column["missing"] for column in columns)
    report = {"seen_rows": rows.num_rows, "missing": missing, "target": target}
    if seen.dtype is not None:
        stored = rows.num_rows * len(columns)
        return report | {"layout": "dense", "dtype": seen.dtype, "stored": stored}
    possible = [] if target is not None else find_candidates(columns, rows.num_rows)
    return report | {"layout": "table", "kinds": columns, "candidates": possible}


def describe_column(column: Any, name: str, where: str) -> dict[str, Any]:
    """Return the kind, missing values and distinct values of one column."""
    try:
        kind = infer_kind(column, name, (), where)
    except DataFileError:
        # an unsupported type, such as lists
        return {"name": name, "kind": "other", "missing": column.null_count, "different": None}
    column = flat(column)
    if kind_of_type(column.type) == "number" and not arrow().types.is_dictionary(column.type):
        numbers = numbers_in(column, name)
        known = numbers[~np.isnan(numbers)]
        return {"name": name, "kind": kind, "missing": len(numbers) - len(known), "different": len(np.unique(known))}
    codes, texts = texts_in(column, name)
    different = {texts[code] for code in np.unique(codes[codes >= 0])}
    return {"name": name, "kind": kind, "missing": int(np.sum(codes < 0)), "different": len(different)}


def find_candidates(columns: Sequence[dict[str, Any]], n_rows: int) -> list[dict[str, str]]:
    """Return possible targets: first those with a common name, then from the last column on."""
    found = []
    for position, column in enumerate(columns):
        kind, different = column["kind"], column["different"] or 0
        if kind not in ("number", "category") or different < 2 or column["missing"] * 2 > n_rows:
            continue
        if kind == "category" and different > max(_MAX_CLASSES, n_rows // 10):
            continue
        classes = kind == "category" or different <= min(_MAX_CLASSES, n_rows // 2)
        model, what = ("sgd-classifier", "classes") if classes else ("sgd-regressor", "distinct numbers")
        candidate = {"column": column["name"], "model": model, "why": f"{different:,} {what}"}
        found.append((column["name"].lower() not in _NAMES, -position, candidate))
    return [candidate for _, _, candidate in sorted(found, key=lambda item: item[:2])][:_MAX_CANDIDATES]


def print_report(report: dict[str, Any], seen: files.Data, console: Console) -> None:
    """Print the report."""
    part = "" if report["seen_rows"] == report["rows"] else f" (from a sample of {report['seen_rows']:,})"
    console.print(f"{report['data']}: {report['rows']:,} rows, {report['columns']:,} columns{part}", style="bold")
    console.print_notes(seen.notes)
    if "kinds" in report:
        shown = report["kinds"][:50]
        rows = [(c["name"], c["kind"], f"{c['missing']:,}", _format_count(c["different"])) for c in shown]
        console.print_table("columns", ("name", "kind", "missing", "distinct"), rows)
        if report["kinds"][50:]:
            console.print(f"and {len(report['kinds']) - 50:,} more columns")
    else:
        stored = f"{report['stored']:,} stored values, {report['missing']:,} missing"
        console.print(f"{report['layout']} {report['dtype']}, {stored}")
    if report["target"] is not None:
        different = _format_count(report["target"]["different"])
        console.print_facts({"target": f"part of the data; {different} distinct values"})
    for found in report.get("candidates", []):
        console.print(f"target?     --target {found['column']} --model {found['model']} ({found['why']})")


def _format_count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
