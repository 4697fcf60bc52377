"""A model file of the command line: the estimator, how its columns are encoded, and what its target is called."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parsgd.cli.tables.encoding import Encoding, MatrixEncoding, SparseEncoding, TableEncoding
from parsgd.cli.tables.file_readers import Data
from parsgd.cli.tables.table_columns import CategoryColumn, NumberColumn, TextColumn
from parsgd.errors import DataFileError, ModelFileError
from parsgd.model_io import model_files


@dataclass(frozen=True)
class ModelFile:
    """An estimator and what it takes to give it a file's rows; ``encoding`` is None if it was not made by ``fit``."""

    estimator: Any
    encoding: Encoding | None
    target: str | None

    @property
    def as_text(self) -> tuple[str, ...]:
        """Columns that a reader must not take for numbers."""
        return tuple(self.encoding.as_text) if self.encoding is not None else ()

    def rows(self, data: Data) -> Any:
        """The rows of ``data`` as the estimator takes them."""
        if self.encoding is not None:
            return self.encoding.apply(data)
        rows = plain_encoding(self.estimator, data).apply(data)
        if np.isnan(rows.data if hasattr(rows, "indptr") else rows).any():
            raise DataFileError(f"{data.name}: has missing values, and the model does not say what to put there.")
        names = getattr(self.estimator, "feature_names_in_", None)
        return rows if names is None else pd.DataFrame(rows, columns=names)


def save(path: Path, estimator: Any, encoding: Encoding, target: str | None, run: dict[str, Any] | None = None) -> None:
    """Write the model file, whole or not at all; ``run`` are notes on how it came about."""
    notes = {"kind": type(encoding).__name__, **asdict(encoding)}
    model_files.save(estimator, path, encoding=notes, target=target, **({} if run is None else {"run": run}))


def load(path: Path) -> ModelFile:
    """Read a model file; raises ModelFileError if it, or the encoding in it, cannot be used."""
    saved = model_files.open_file(path)
    notes, target = saved.notes.get("encoding"), saved.notes.get("target")
    encoding = None
    if notes is not None:
        try:
            encoding = _encoding(notes)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: the encoding of its columns is damaged. Fit the model again.") from error
        if encoding.width != saved.estimator.n_features_in_:
            raise ModelFileError(f"{path}: its encoding and its coefficients do not match. Fit the model again.")
    return ModelFile(saved.estimator, encoding, target if isinstance(target, str) else None)


def _encoding(notes: dict[str, Any]) -> Encoding:
    notes = dict(notes)
    kind = notes.pop("kind")
    if kind == "SparseEncoding":
        encoding = SparseEncoding(**notes)
        _require(_is_count(encoding.width) and encoding.first in (0, 1))
        _require(encoding.scale is None or _is_scale(encoding.scale, encoding.width))
        return encoding
    notes["numbers"] = numbers = _numbers(notes["numbers"])
    if kind == "MatrixEncoding":
        return MatrixEncoding(**notes)
    _require(kind == "TableEncoding" and len(numbers.names) == numbers.width)
    notes["categories"] = [_category(**block) for block in notes["categories"]]
    notes["words"] = [TextColumn(**block) for block in notes["words"]]
    _require(all(isinstance(block.name, str) and _is_count(block.width) for block in notes["words"]))
    return TableEncoding(**notes)


def _numbers(notes: dict[str, Any]) -> NumberColumn:
    numbers = NumberColumn(**notes)
    _require(all(isinstance(name, str) for name in (*numbers.names, *numbers.dates)))
    shape = numbers.fill.shape
    _require(numbers.mean.shape == shape and len(shape) == 1 and _is_scale(numbers.scale, shape[0]))
    _require(np.isfinite(numbers.fill).all() and np.isfinite(numbers.mean).all())
    return numbers


def _category(name: str, categories: list[str], other: bool, missing: bool) -> CategoryColumn:
    _require(isinstance(name, str) and all(isinstance(category, str) for category in categories))
    _require(len(set(categories)) == len(categories) and isinstance(other, bool) and isinstance(missing, bool))
    return CategoryColumn(name, categories, other, missing)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < 2**31


def _is_scale(value: Any, width: int) -> bool:
    return value.shape == (width,) and bool(np.isfinite(value).all() and (value != 0).all())


def _require(fact: Any) -> None:
    if not fact:
        raise ValueError("the encoding is not one that fit has written")


def plain_encoding(estimator: Any, data: Data) -> Encoding:
    """For a model from Python: columns by the names it was fitted with, else by position; nothing scaled or filled."""
    width = estimator.n_features_in_
    if hasattr(data.features, "indptr"):
        first = int(data.features.shape[1] > width and not (data.features.indices == 0).any())
        return SparseEncoding(width, first)
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    numbers = NumberColumn(names, [], np.full(width, np.nan), np.zeros(width), np.ones(width))
    coef = estimator.coefs_[0] if hasattr(estimator, "coefs_") else estimator.coef_
    single = coef.dtype == np.float32
    return TableEncoding(numbers, single=single) if names and data.is_table else MatrixEncoding(numbers, single=single)
