"""Inference of column kinds from a sample of the training rows, and notes about the encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parsgd.cli.option_groups import ColumnOptions
from parsgd.data.columns.arrow_values import days_in, numbers_in, texts_in
from parsgd.data.columns.column_kinds import Dates, Kind, Numeric, OneHot, Text
from parsgd.data.columns.column_specs import index_names
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.column_stats import batches, learned
from parsgd.data.columns.encoder import Encoder, PassThroughEncoder, encoder_of
from parsgd.data.columns.formatted_numbers import notes_on_numbers
from parsgd.data.columns.numeric import arrow, flat, kind_of_type
from parsgd.data.contracts import Piece
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError, did_you_mean

# Text is prose, not categories, above this fraction of distinct values and from this mean number of words.
_MIN_DISTINCT, _MIN_WORDS = 0.5, 3.0
# Distinct texts that are examined.
_MAX_EXAMINED = 1000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}.*")
KINDS = ("number", "date", "category", "words", "empty", "dropped", "index")


def read_sample(pieces: Sequence[Piece], names: Sequence[str], texts: Sequence[str], name: str) -> Any:
    """Return all rows as an Arrow table, or a sample of more than 262,144 rows."""
    pa = arrow()
    found = [batch for _, batch in batches(pieces, PassThroughEncoder(tuple(names), tuple(texts)), sample=True)]
    if not found:
        raise DataFileError(f"{name}: has no rows; at least one was expected.")
    return pa.Table.from_batches(found).combine_chunks()


def learn_table(
    pieces: Sequence[Piece], schema: Any, target: str | None, options: ColumnOptions, name: str, labels: str | None
) -> tuple[Encoder, list[str]]:
    """Learn the encoder of a table from ``pieces``; return it with notes about the columns.

    Raises DataFileError if an option names an unknown column, or a column has an unsupported type.
    """
    names = [column for column in schema.names if column != target]
    categorical, dropped = options.categorical or (), options.drop or ()
    known = set(names)
    unknown = [column for column in (*categorical, *dropped) if column not in known]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        raise DataFileError(f"{name}: has no column {unknown[0]!r}.{hint} Its columns are {list_names(names)}.")
    kept = [column for column in names if column not in dropped]
    table = read_sample(pieces, kept, categorical, name)
    index = {column for column in index_names(schema) if column not in categorical}
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for column in kept:
        kind = "index" if column in index else infer_kind(table.column(column), column, categorical, name)
        kinds[kind].append(column)
    kinds["dropped"] = [column for column in names if column in dropped]
    standardize = options.standardize is not False
    settings = {"missing": "median", "scale": "standard" if standardize else None}
    groups: dict[str, type[Numeric]] = {"number": Numeric, "date": Dates}
    declared: list[Kind] = [kind(tuple(kinds[group]), **settings) for group, kind in groups.items() if kinds[group]]
    declared += [OneHot(c, missing="seen", max_categories=options.max_categories) for c in kinds["category"]]
    declared += [Text(c, alternate_sign=False, missing="ignore") for c in kinds["words"]]
    if not declared:
        raise DataFileError(f"{name}: all columns are dropped, empty or an index; at least one feature is needed.")
    encoder = encoder_of(learned(declared, pieces), "float32" if standardize else "float64", labels=labels)
    if encoder.sparse and not standardize:
        encoder = encoder_of(encoder.kinds, "float32", labels=labels)
    total = sum(piece.n_rows for piece in pieces)
    sampled = [] if table.num_rows == total else [f"column kinds from a sample of {table.num_rows:,} of {total:,} rows"]
    return encoder, [*sampled, *describe(encoder, kinds, table, standardize)]


def infer_kind(column: Any, name: str, categorical: Sequence[str], where: str) -> str:
    """Return the kind of a column: ``number``, ``date``, ``category``, ``words`` or ``empty``."""
    types = arrow().types
    what = kind_of_type(column.type)
    if what == "other":
        raise DataFileError(
            f"{where}: column {name!r} has the unsupported type {column.type}. Leave it out: --drop {name}"
        )
    if what == "nothing" or column.null_count == len(column):
        return "empty"
    if name in categorical or types.is_dictionary(column.type) or what == "time":
        return "category"
    if what == "moment":
        return "number" if types.is_duration(column.type) else "date"
    if what == "text":
        return _infer_kind_of_text(column, name)
    return "empty" if types.is_floating(column.type) and np.isnan(numbers_in(flat(column), name)).all() else "number"


def _infer_kind_of_text(column: Any, name: str) -> str:
    column = flat(column)
    codes, texts = texts_in(column, name)
    used = [texts[code] for code in np.unique(codes[codes >= 0])]
    if not used:
        return "empty"
    if _parses(numbers_in, column, name):
        return "number"
    first = used[:_MAX_EXAMINED]
    if all(_DATE.fullmatch(text) for text in first) and _parses(days_in, column, name):
        return "date"
    prose = sum(len(text.split()) for text in first) >= _MIN_WORDS * len(first)
    return "words" if prose and len(set(used)) > _MIN_DISTINCT * np.count_nonzero(codes >= 0) else "category"


def _parses(read: Any, column: Any, name: str) -> bool:
    try:
        return bool(np.isfinite(read(column, name)).any())
    except BadRow:
        return False


def describe(encoder: Encoder, kinds: dict[str, list[str]], table: Any, standardize: bool) -> list[str]:
    """Return notes about the encoding of each column."""
    scaled = ", standardized to mean 0 and deviation 1" if standardize else ""
    flags = [name for name in kinds["number"] if arrow().types.is_boolean(table.column(name).type)]
    notes = _listed(
        {
            f"numbers{scaled}": kinds["number"],
            "booleans as 1 and 0": flags,
            f"dates as days since 1970{scaled}": kinds["date"],
        }
    )
    gaps = list(_gaps(encoder, table))
    notes += [f"{name}: {n:,} missing values filled with the median {fill:.6g}" for name, n, fill in gaps[:10]]
    if gaps[10:]:
        notes.append(f"missing values filled with the medians in {len(gaps) - 10} more columns")
    for kind in encoder.kinds:
        if isinstance(kind, OneHot):
            rest = "; rarer ones are encoded as (other)" if kind.other == "indicator" else ""
            gap = "; missing is a category" if kind.missing == "indicator" else ""
            notes.append(f"{kind.name}: {len(kind.vocabulary):,} categories, one-hot encoded{rest}{gap}")
        if isinstance(kind, Text):
            notes.append(f"{kind.name}: text, words hashed into {kind.width:,} columns")
    left_out = {
        "empty, left out": kinds["empty"],
        "left out by --drop": kinds["dropped"],
        "index or unnamed, left out": kinds["index"],
    }
    return [*notes, *notes_on_numbers(encoder.kinds), *_listed(left_out)]


def _listed(groups: dict[str, list[str]]) -> list[str]:
    return [f"{what}: {list_names(names, 10)}" for what, names in groups.items() if names]


def _gaps(encoder: Encoder, table: Any) -> Iterable[tuple[str, int, float]]:
    """Yield ``(column, number of missing values, fill value)`` for numeric columns with missing values."""
    for kind in encoder.kinds:
        if isinstance(kind, Numeric):
            for place, name in enumerate(kind.names):
                missing = int(np.isnan(kind.values(flat(table.column(name)), place)).sum())
                if missing:
                    yield name, missing, kind.fill[place]


def learn_sparse(dataset: Dataset, train: Dataset, options: ColumnOptions) -> tuple[SvmlightColumns, list[str]]:
    """Return the columns of svmlight rows, with their standard deviations if ``standardize``, and notes."""
    columns = dataset.columns
    if options.categorical or options.drop:
        raise DataFileError(f"{dataset.name}: its columns have no names; remove --categorical and --drop.")
    layout = f"{columns.n_features:,} sparse columns, counted from {1 - columns.zero_based}"
    if not options.standardize:
        return columns, [f"{layout}; not scaled (--standardize scales them)"]
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=False)
    for chunk in train.without_targets().blocks():
        scaler.partial_fit(chunk.x.astype(np.float64))
    scale = tuple(float(value) for value in scaler.scale_)
    return replace(columns, scale=scale), [f"{layout}; divided by their standard deviations, not centered"]
