"""Kinds of the columns of a table: inferred from a sample of the training rows, learned, and described in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import did_you_mean
from parsgd.data.columns.arrow_values import days_in, kind_of_type, numbers_in, texts_in
from parsgd.data.columns.column_kinds import Dates, Kind, Numeric, OneHot, Text
from parsgd.data.columns.column_specs import index_names
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.column_stats import batches, learned
from parsgd.data.columns.encoder import Encoder, PassThroughEncoder, encoder_of
from parsgd.data.columns.numeric import arrow, flat
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError

# Text of which more than this share of the rows are different, with so many words a row, is prose, not categories.
_DIFFERENT, _WORDS_A_ROW = 0.5, 3.0
_LOOKED_AT = 1000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}.*")
# Numeric that are written for readers: a decimal comma, digits in groups, a percent sign, a currency.
_WRITTEN_NUMBER = re.compile(r"[-+]?[$€£]?\s?\d{1,3}([., ]\d{3})*([.,]\d+)?\s?%?|[-+]?\d+,\d+")
KINDS = ("number", "date", "category", "words", "empty", "dropped", "index")


@dataclass(frozen=True)
class EncodingOptions:
    """What the user asks of columns and files.

    ``standardize=None``: tables yes, svmlight rows no.  ``header``, ``decimal`` and ``zero_based`` are those of
    :func:`parsgd.open_dataset`.
    """

    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    standardize: bool | None = None
    max_categories: int = 1000
    header: Any = "auto"
    decimal: str = "."
    zero_based: bool | None = None


def sample_of(pieces: Sequence[Any], names: Sequence[str], texts: Sequence[str], name: str) -> Any:
    """An Arrow table of all rows, or of a sample where there are more than 262,144."""
    pa = arrow()
    found = [batch for _, batch in batches(pieces, PassThroughEncoder(tuple(names), tuple(texts)), sample=True)]
    if not found:
        raise DataFileError(f"{name}: has no rows; at least one was expected.")
    return pa.Table.from_batches(found).combine_chunks()


def learn_table(
    pieces: Sequence[Any], schema: Any, target: str | None, choices: EncodingOptions, name: str, labels: str | None
) -> tuple[Encoder, list[str]]:  # fmt: skip
    """The encoder of the columns of a table, learned from ``pieces``, and what was done to which column.

    Raises
    ------
    DataFileError
        If a column that is asked for is not there, or a column cannot be learned from.
    """
    names = [column for column in schema.names if column != target]
    known = set(names)
    unknown = [column for column in (*choices.categorical, *choices.drop) if column not in known]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        raise DataFileError(f"{name}: has no column {unknown[0]!r}.{hint} There are {list_names(names)}.")
    kept = [column for column in names if column not in choices.drop]
    table = sample_of(pieces, kept, choices.categorical, name)
    index = {column for column in index_names(schema) if column not in choices.categorical}
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for column in names:
        if column in choices.drop:
            kinds["dropped"].append(column)
        else:
            kind = "index" if column in index else kind_of(table.column(column), column, choices, name)
            kinds[kind].append(column)
    standardize = choices.standardize is not False
    scale = "standard" if standardize else None
    declared: list[Kind] = [
        kind(tuple(kinds[group]), missing="median", scale=scale)
        for kind, group in ((Numeric, "number"), (Dates, "date"))
        if kinds[group]
    ]
    declared += [OneHot(c, missing="seen", max_categories=choices.max_categories) for c in kinds["category"]]
    declared += [Text(c, alternate_sign=False, missing="ignore") for c in kinds["words"]]
    if not declared:
        raise DataFileError(f"{name}: no column is left to learn from.")
    encoder = encoder_of(learned(declared, pieces), "float32" if standardize else "float64", labels=labels)
    if encoder.sparse and not standardize:
        encoder = encoder_of(encoder.kinds, "float32", labels=labels)
    total = sum(piece.n_rows for piece in pieces)
    seen = [] if table.num_rows == total else [f"columns as a sample of {table.num_rows:,} of {total:,} rows has them"]
    return encoder, [*seen, *describe(encoder, kinds, table, standardize)]


def kind_of(column: Any, name: str, choices: EncodingOptions, where: str) -> str:
    """What a column of an Arrow table holds: number, date, category or words; or empty."""
    types = arrow().types
    what = kind_of_type(column.type)
    if what == "other":
        raise DataFileError(
            f"{where}: column {name!r} holds values of type {column.type}, which cannot be learned from."
            f" Leave it out: --drop {name}"
        )
    if what == "nothing" or column.null_count == len(column):
        return "empty"
    if name in choices.categorical or types.is_dictionary(column.type) or what == "time":
        return "category"
    if what == "moment":
        return "number" if types.is_duration(column.type) else "date"
    if what == "text":
        return _kind_of_text(column, name)
    return "empty" if types.is_floating(column.type) and np.isnan(numbers_in(flat(column), name)).all() else "number"


def _kind_of_text(column: Any, name: str) -> str:
    column = flat(column)
    codes, texts = texts_in(column, name)
    used = [texts[code] for code in np.unique(codes[codes >= 0])]
    if not used:
        return "empty"
    if _parses(numbers_in, column, name):
        return "number"
    first = used[:_LOOKED_AT]
    if all(_DATE.fullmatch(text) for text in first) and _parses(days_in, column, name):
        return "date"
    prose = sum(len(text.split()) for text in first) >= _WORDS_A_ROW * len(first)
    return "words" if prose and len(set(used)) > _DIFFERENT * np.count_nonzero(codes >= 0) else "category"


def _parses(read: Any, column: Any, name: str) -> bool:
    try:
        return bool(np.isfinite(read(column, name)).any())
    except BadRow:
        return False


def describe(encoder: Encoder, kinds: dict[str, list[str]], table: Any, standardize: bool) -> list[str]:
    """What was done to which column, in words."""
    types, said = arrow().types, []
    scaled = ", standardized to mean 0 and deviation 1" if standardize else ""
    if kinds["number"]:
        said.append(f"numbers{scaled}: {list_names(kinds['number'], 10)}")
    flags = [name for name in kinds["number"] if types.is_boolean(table.column(name).type)]
    if flags:
        said.append(f"True and False became 1 and 0: {list_names(flags, 10)}")
    if kinds["date"]:
        said.append(f"dates became days since 1970{scaled}: {list_names(kinds['date'], 10)}")
    holes = list(_gaps(encoder, table))
    said += [f"{name}: {n:,} missing values took the median, {fill:.6g}" for name, n, fill in holes[:10]]
    if holes[10:]:
        said.append(f"missing values took the medians in {len(holes) - 10} more columns")
    for kind in encoder.kinds:
        if isinstance(kind, OneHot):
            rest = "; rarer ones count as (other)" if kind.other == "indicator" else ""
            gap = "; missing is a category" if kind.missing == "indicator" else ""
            said.append(f"{kind.name}: {len(kind.vocabulary):,} categories, a column of 0 and 1 each{rest}{gap}")
        if isinstance(kind, Text):
            said.append(f"{kind.name}: text, its words hashed into {kind.width:,} columns")
    said += list(_written_numbers(encoder))
    for group, what in (
        ("empty", "empty, left out"),
        ("dropped", "left out as asked"),
        ("index", "no feature, since it is an index or has no name"),
    ):
        if kinds[group]:
            said.append(f"{what}: {list_names(kinds[group], 10)}")
    return said


def _gaps(encoder: Encoder, table: Any) -> Iterable[tuple[str, int, float]]:
    """``(column, missing values, what they count as)`` of the columns of numbers that have any."""
    for kind in encoder.kinds:
        if isinstance(kind, Numeric):
            for place, name in enumerate(kind.names):
                missing = int(np.isnan(kind.values(flat(table.column(name)), place)).sum())
                if missing:
                    yield name, missing, kind.fill[place]


def _written_numbers(encoder: Encoder) -> Iterable[str]:
    """Remarks on categories that are numbers as people write them."""
    for kind in encoder.kinds:
        if isinstance(kind, OneHot) and len(kind.vocabulary) > 1:
            known = [text for text in kind.vocabulary if re.search(r"\d", text)]
            odd = [text for text in known if re.search(r"[,%$€£ ]|\d\.\d{3}\.", text)]
            if odd and len(known) == len(kind.vocabulary) and all(map(_WRITTEN_NUMBER.fullmatch, known)):
                yield (
                    f"{kind.name}: looks like numbers with a decimal comma, groups of digits, a currency or %, such as"
                    f" {odd[0]!r}, and was taken for categories; --decimal , reads decimal commas, the rest is to be"
                    " changed in the file"
                )


def learn_sparse(dataset: Dataset, train: Dataset, choices: EncodingOptions) -> tuple[SvmlightColumns, list[str]]:
    """The columns of svmlight rows, with their deviations in the training rows if these are asked for."""
    columns = dataset.columns
    if choices.categorical or choices.drop:
        raise DataFileError(f"{dataset.name}: its columns have no names; leave out --categorical and --drop.")
    said = f"{columns.n_features:,} sparse columns, counted from {1 - columns.zero_based}"
    if not choices.standardize:
        return columns, [f"{said}; left as they are (--standardize divides them)"]
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=False)
    for chunk in train.without_targets().blocks():
        scaler.partial_fit(chunk.x.astype(np.float64))
    scale = tuple(float(value) for value in scaler.scale_)
    return replace(columns, scale=scale), [f"{said}; divided by their standard deviations, not centred"]
