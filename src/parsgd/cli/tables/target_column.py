"""The target column: its selection, its validation, and the removal of rows without a target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parsgd.cli.tables.read_data import Data
from parsgd.data.columns.arrow_values import numbers_in
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.columns.numeric import arrow, flat
from parsgd.data.contracts import reread
from parsgd.data.formats.tables import label_type
from parsgd.data.sources.part_piece import labeled_part
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError, did_you_mean


def take_target(data: Data, column: str | None, needed: bool) -> Data:
    """Return the data with this column as the target; raise DataFileError if it is missing, but ``needed``."""
    if data.predefined_target:
        if column is not None:
            raise DataFileError(f"{data.name}: already has a target; remove --target {column}.")
        if needed and data.is_table and data.target is None:
            raise DataFileError(f"{data.name}: has X but no y; a target was expected.")
        return data
    columns = list(data.schema.names)
    if column is None:
        if needed:
            raise DataFileError(f"{data.name}: no target; add --target COLUMN. Its columns are {list_names(columns)}.")
        return data
    if column not in columns:
        hint = did_you_mean(column, columns)
        raise DataFileError(f"{data.name}: has no column {column!r}.{hint} Its columns are {list_names(columns)}.")
    return replace(data, target=column)


def clean(data: Data, task: str) -> Data:
    """Leave out the rows without a target; raise DataFileError for a target that the task does not allow.

    For the task ``outliers`` targets are used only for scores, and only if all are -1 or 1.
    """
    if data.target is None:
        return data
    pieces, first, all_signs = [], 0, True
    for piece in data.dataset.pieces:
        known = [np.zeros(0, dtype=bool)]
        for chunk in reread(piece, encoder=PassThroughEncoder((data.target,)), target=None).chunks():
            column = chunk.x.column(data.target)
            known.append(_known(column, data.target, task, data.name, first))
            all_signs = all_signs and task == "outliers" and _are_signs(column, data.target)
            first += len(column)
        kept = np.concatenate(known)
        if kept.any():
            pieces.append(piece if kept.all() else labeled_part(piece, kept))
    if task == "outliers":
        if all_signs:
            return data
        notes = (*data.notes, "target ignored: its values are not -1 and 1")
        schema = data.schema.remove(data.schema.get_field_index(data.target))
        return replace(data, schema=schema, target=None, notes=notes)
    n_missing = first - sum(piece.n_rows for piece in pieces)
    if not pieces:
        raise DataFileError(f"{data.name}: all targets are missing.")
    if not n_missing:
        return data
    notes = (*data.notes, f"{n_missing:,} of {first:,} rows left out, because they have no target")
    return replace(data, dataset=replace(data.dataset, pieces=tuple(pieces)), notes=notes)


def _known(column: Any, name: str, task: str, where: str, first: int) -> np.ndarray:
    """Return the mask ``(n_rows,)`` of rows with a target; raise DataFileError for invalid numbers."""
    if task == "numbers":
        try:
            numbers = numbers_in(column, name)
        except BadRow as error:
            raise DataFileError(
                f"{where}: regression needs numbers as targets; row {first + error.row + 1} has"
                f" {column[error.row].as_py()!r}. To predict classes, use --model sgd-classifier."
            ) from error
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers)))
            needs = "regression needs finite numbers as targets"
            raise DataFileError(f"{where}: {needs}; row {first + row + 1} has {numbers[row]}. Correct it.")
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
