"""A model file of the command line: the estimator, how its columns are encoded, and what its target is called."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.tables.read_data import Data
from parsgd.data.columns.column_kinds import Dates, Numeric, OneHot, Text
from parsgd.data.columns.encoder import Encoder
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.errors import DataFileError, ModelFileError, ParsgdError
from parsgd.model_io import model_files


@dataclass(frozen=True)
class ModelFile:
    """An estimator, its columns (None if it was fitted to arrays in Python), and the name of its target."""

    estimator: Any
    columns: Encoder | SvmlightColumns | None
    target: str | None

    def dataset(self, data: Data, target: str | None = None) -> Dataset:
        """The rows of ``data`` as the estimator takes them."""
        return data.encoded(self.columns or by_position(self.estimator, data), target)

    def rows(self, data: Data) -> Any:
        """The same as one array or CSR matrix."""
        dataset = self.dataset(data)
        (block,) = dataset.without_targets().blocks(dataset.n_rows)
        return block.x


def save(path: Path, estimator: Any, columns: Any, target: str | None, run: dict[str, Any] | None = None) -> None:
    """Write the model file, whole or not at all; ``run`` are notes on how it came about."""
    if columns is not None:
        estimator.columns_ = columns
    model_files.save(estimator, path, target=target, **({} if run is None else {"run": run}))


def load(path: Path) -> ModelFile:
    """Read a model file; raises ModelFileError if it, or the encoding in it, cannot be used."""
    saved = model_files.open_file(path)
    estimator, notes, target = saved.estimator, saved.notes.get("encoding"), saved.notes.get("target")
    columns = getattr(estimator, "columns_", None)
    if columns is None and notes is not None:
        try:
            columns = _former(notes, saved.estimator)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError, ParsgdError) as error:
            raise ModelFileError(f"{path}: the encoding of its columns is damaged. Fit the model again.") from error
        if columns.n_features != estimator.n_features_in_:
            raise ModelFileError(f"{path}: its encoding and its coefficients do not match. Fit the model again.")
    names = getattr(estimator, "feature_names_in_", None)
    if columns is None and names is not None:
        columns = Encoder((Numeric(tuple(map(str, names))),), _dtype(estimator))
        # rows come as arrays, whose columns have no names
        del estimator.feature_names_in_
    return ModelFile(estimator, columns, target if isinstance(target, str) else None)


def by_position(estimator: Any, data: Data) -> Encoder | SvmlightColumns:
    """For a model that was fitted to arrays: columns by their order."""
    width = estimator.n_features_in_
    if not data.is_table:
        columns = data.dataset.columns
        if columns.n_features != width:
            raise DataFileError(f"{data.name}: has {columns.n_features:,} columns, and the model takes {width:,}.")
        return columns
    names = data.names
    if len(names) != width:
        raise DataFileError(
            f"{data.name}: the model takes {width:,} columns of numbers, it has {len(names):,} columns."
        )
    return Encoder((Numeric(tuple(names)),), _dtype(estimator))


def _dtype(estimator: Any) -> str:
    coef = estimator.coefs_[0] if hasattr(estimator, "coefs_") else estimator.coef_
    return "float32" if coef.dtype == np.float32 else "float64"


# -- files of version 0.1 ----------------------------------------------------------------------------------------------


def _former(notes: dict[str, Any], estimator: Any) -> Encoder | SvmlightColumns:
    """The encoding that version 0.1 kept in notes."""
    notes = dict(notes)
    kind = notes.pop("kind")
    classes = getattr(estimator, "classes_", np.zeros(0))
    labels = "text" if classes.dtype.kind in "UO" else "boolean" if classes.dtype.kind == "b" else "number"
    if kind == "SparseEncoding":
        _require(set(notes) == {"width", "first", "scale"} and notes["first"] in (0, 1))
        scale = None if notes["scale"] is None else _floats(notes["scale"], notes["width"])
        _require(isinstance(notes["width"], int) and notes["width"] > 0 and (scale is None or all(scale)))
        return SvmlightColumns(notes["width"], notes["first"] == 0, scale)
    numbers = notes.pop("numbers")
    _require(set(numbers) == {"names", "dates", "fill", "mean", "scale"})
    width, dates = len(numbers["fill"]), set(numbers["dates"])
    names = numbers["names"] or [f"x{i}" for i in range(width)]
    _require(len(names) == width and all(isinstance(name, str) for name in names))
    learned = [_floats(numbers[key], width) for key in ("fill", "mean", "scale")]
    _require(all(learned[2]))
    kinds: list[Any] = []
    # in the order of the columns, since that is the order of the coefficients
    for dated, group in groupby(range(width), key=lambda i: names[i] in dates):
        places = list(group)
        given = [tuple(values[i] for i in places) for values in learned]
        kinds.append((Dates if dated else Numeric)(tuple(names[i] for i in places), "median", "standard", *given))
    single = notes.pop("single")
    if kind == "MatrixEncoding":
        _require(not notes)
        return Encoder(tuple(kinds), "float32" if single else "float64", labels=labels)
    _require(kind == "TableEncoding" and set(notes) == {"categories", "words", "wide"})
    for block in notes["categories"]:
        _require(set(block) == {"name", "categories", "other", "missing"} and isinstance(block["categories"], list))
        own = ["indicator" if block[key] else "ignore" for key in ("other", "missing")]
        kinds.append(OneHot(block["name"], tuple(block["categories"]), *own))
    for block in notes["words"]:
        _require(block["width"] < 2**31)
        kinds.append(Text(block["name"], block["width"], alternate_sign=False, missing="ignore"))
    wide = bool(notes["wide"])
    return Encoder(tuple(kinds), "float32" if single or wide else "float64", wide, labels)


def _floats(values: np.ndarray, width: int) -> tuple[float, ...]:
    _require(values.shape == (width,) and np.isfinite(values).all())
    return tuple(float(value) for value in values)


def _require(fact: Any) -> None:
    if not fact:
        raise ValueError("the encoding is not one that fit has written")
