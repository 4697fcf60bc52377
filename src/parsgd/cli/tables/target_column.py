"""The column to predict: found by name, checked, and rows left out that lack it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import did_you_mean
from parsgd.cli.tables.read_data import Data
from parsgd.data.columns.arrow_values import numbers_in
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.columns.numeric import arrow, flat
from parsgd.data.formats.tables import label_type
from parsgd.data.sources.piece_reader import BadRow
from parsgd.data.subsets import part_of, reread
from parsgd.errors import DataFileError


def take_target(data: Data, column: str | None, needed: bool) -> Data:
    """The data with a column as its target."""
    if data.brings_target:
        if column is not None:
            raise DataFileError(f"{data.name}: brings its own target; leave out --target {column}.")
        if needed and data.is_table and data.target is None:
            raise DataFileError(f"{data.name}: holds X but no y; a target was expected.")
        return data
    columns = list(data.schema.names)
    if column is None:
        if needed:
            raise DataFileError(f"{data.name}: name the column to predict, --target COLUMN, of {list_names(columns)}.")
        return data
    if column not in columns:
        hint = did_you_mean(column, columns)
        raise DataFileError(f"{data.name}: has no column {column!r}.{hint} Its columns are {list_names(columns)}.")
    return replace(data, target=column)


def clean(data: Data, task: str) -> Data:
    """Without the rows whose target is missing.

    ``classes`` and ``numbers`` need targets; for ``outliers`` they only serve to score, and only if they are -1 and 1.

    Raises
    ------
    DataFileError
        If a target is not what the task needs; names its row.
    """
    if data.target is None:
        return data
    pieces, lacking, signs = [], 0, True
    first = 0
    for piece in data.dataset.pieces:
        known = []
        for chunk in reread(piece, encoder=PassThroughEncoder((data.target,)), target=None).chunks():
            column = chunk.x.column(data.target)
            known.append(_known(column, data.target, task, data.name, first))
            signs = signs and task == "outliers" and _are_signs(column, data.target)
            first += len(column)
        kept = np.concatenate(known) if known else np.zeros(0, dtype=bool)
        lacking += int(len(kept) - kept.sum())
        pieces.append(piece if kept.all() else part_of(piece, kept))
    if task == "outliers":
        if signs:
            return data
        said = (*data.said, "the target is not -1 and 1, so it is not used")
        return replace(data, schema=_without(data, data.target), target=None, said=said)
    total = data.n_rows
    if lacking == total:
        raise DataFileError(f"{data.name}: no row has a target.")
    if not lacking:
        return data
    said = (*data.said, f"{lacking:,} of {total:,} rows have no target; they were left out")
    pieces = [piece for piece in pieces if piece.n_rows]
    return replace(data, dataset=replace(data.dataset, pieces=tuple(pieces)), said=said)


def _without(data: Data, column: str) -> Any:
    at = data.schema.get_field_index(column)
    return data.schema.remove(at)


def _known(column: Any, name: str, task: str, where: str, first: int) -> np.ndarray:
    """``(n_rows,)``: whether rows have a target."""
    if task == "numbers":
        try:
            numbers = numbers_in(column, name)
        except BadRow as error:
            row = first + error.row
            value = column[error.row].as_py()
            raise DataFileError(
                f"{where}: a regression needs numbers as targets; row {row + 1} has {value!r}."
                " To predict classes, take --model sgd-classifier."
            ) from error
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers)))
            raise DataFileError(
                f"{where}: a regression needs numbers as targets; row {first + row + 1} has {numbers[row]}. Correct it."
            )
        return ~np.isnan(numbers)
    if label_type(column.type) == "text":
        import pyarrow.compute as pc

        pa = arrow()
        column = flat(column)
        if pa.types.is_null(column.type):
            return np.zeros(len(column), dtype=bool)
        filled = pc.not_equal(pc.utf8_trim_whitespace(column.cast(pa.string())), "")
        return filled.fill_null(False).to_numpy(zero_copy_only=False)
    return ~np.isnan(numbers_in(column, name))


def _are_signs(column: Any, name: str) -> bool:
    try:
        return bool(np.isin(numbers_in(column, name), (-1, 1)).all())
    except DataFileError:
        return False
