"""Model files of the command line: the estimator, the encoding of its columns, and the name of its target."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from parsgd.cli.scoring import label_type
from parsgd.cli.tables.read_data import Data
from parsgd.data.columns.column_kinds import Dates, Numeric, OneHot, Text
from parsgd.data.columns.encoder import Encoder
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.errors import DataFileError, ModelFileError, ParsgdError
from parsgd.estimators.kinds import kind_of
from parsgd.model_io import model_files


@dataclass(frozen=True)
class ModelFile:
    """An estimator, its columns and the name of its target; columns are None after a fit to arrays."""

    estimator: Any
    columns: Encoder | SvmlightColumns | None
    target: str | None

    def rows(self, data: Data) -> np.ndarray | csr_matrix | Dataset:
        """Return the encoded rows: a Dataset of streamed data, else one array or CSR matrix."""
        dataset = data.encoded(self.columns or columns_by_position(self.estimator, data), None)
        return dataset if data.stream_reason is not None else read_all(dataset)


def read_all(dataset: Dataset) -> np.ndarray | csr_matrix:
    """Return the rows of a Dataset as one array or CSR matrix."""
    (block,) = dataset.without_targets().blocks(dataset.n_rows)
    return block.x


def save(
    path: Path,
    estimator: Any,
    columns: Encoder | SvmlightColumns | None,
    target: str | None,
    run: dict[str, Any] | None = None,
) -> None:
    """Write the model file atomically; ``run`` has the metadata of the run."""
    if columns is not None:
        estimator.columns_ = columns
    model_files.save(estimator, path, target=target, **({} if run is None else {"run": run}))


def load(path: Path) -> ModelFile:
    """Read a model file; raise ModelFileError if the file or its encoding is damaged."""
    saved = model_files.open_file(path)
    estimator, notes, target = saved.estimator, saved.notes.get("encoding"), saved.notes.get("target")
    columns, names, classes = (vars(estimator).get(n) for n in ("columns_", "feature_names_in_", "classes_"))
    if columns is None and notes is not None:
        try:
            columns = _version_0_1_encoding(notes, classes)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError, ParsgdError) as error:
            raise ModelFileError(f"{path}: the encoding of its columns is damaged. Fit the model again.") from error
        if columns.n_features != estimator.n_features_in_:
            raise ModelFileError(f"{path}: its encoding and its coefficients do not match. Fit the model again.")
    if columns is None and names is not None:
        columns = Encoder((Numeric(tuple(map(str, names))),), _dtype(estimator))
        # encoded rows are arrays without column names
        del estimator.feature_names_in_
    return ModelFile(estimator, columns, target if isinstance(target, str) else None)


def columns_by_position(estimator: Any, data: Data) -> Encoder | SvmlightColumns:
    """Return columns in their order, for a model that was fitted to arrays."""
    width = estimator.n_features_in_
    if not data.is_table:
        columns = data.dataset.columns
        if columns.n_features != width:
            raise DataFileError(f"{data.name}: has {columns.n_features:,} columns; the model needs {width:,}.")
        return columns
    names = data.names
    if len(names) != width:
        raise DataFileError(f"{data.name}: has {len(names):,} columns; the model needs {width:,} columns of numbers.")
    return Encoder((Numeric(tuple(names)),), _dtype(estimator))


def _dtype(estimator: Any) -> str:
    return "float32" if kind_of(estimator).dtype(estimator) == np.float32 else "float64"


# -- files of version 0.1 ----------------------------------------------------------------------------------------------


_KEYS_0_1 = {
    "SparseEncoding": {"kind", "width", "first", "scale"},
    "MatrixEncoding": {"kind", "numbers", "single"},
    "TableEncoding": {"kind", "numbers", "single", "categories", "words", "wide"},
}


def _version_0_1_encoding(notes: dict[str, Any], classes: np.ndarray | None) -> Encoder | SvmlightColumns:
    """Return the encoding that version 0.1 stored in notes."""
    kind = notes["kind"]
    if set(notes) != _KEYS_0_1[kind]:
        raise ValueError("invalid keys")
    if kind == "SparseEncoding":
        scale = None if notes["scale"] is None else _finite(notes["scale"], notes["width"])
        return SvmlightColumns(notes["width"], {0: True, 1: False}[notes["first"]], scale)
    numbers = notes["numbers"]
    width, dates = len(numbers["fill"]), set(numbers["dates"])
    names = numbers["names"] or [f"x{i}" for i in range(width)]
    if not (all(numbers["scale"]) and all(isinstance(name, str) for name in names)):
        raise ValueError("invalid numbers")
    columns = zip(names, *(_finite(numbers[key], width) for key in ("fill", "mean", "scale")), strict=True)
    kinds: list[Any] = []
    # in the order of the columns, which is that of the coefficients
    for dated, group in groupby(columns, key=lambda column: column[0] in dates):
        together, *learned = zip(*group, strict=True)
        kinds.append((Dates if dated else Numeric)(together, "median", "standard", *learned))
    for block in notes.get("categories", ()):
        policies = ["indicator" if block[key] else "ignore" for key in ("other", "missing")]
        kinds.append(OneHot(block["name"], tuple(block["categories"]), *policies))
    words = notes.get("words", ())
    kinds += [Text(block["name"], block["width"], alternate_sign=False, missing="ignore") for block in words]
    wide = bool(notes.get("wide"))
    labels = "number" if classes is None else label_type(classes)
    return Encoder(tuple(kinds), "float32" if notes["single"] or wide else "float64", wide, labels)


def _finite(values: np.ndarray, width: int) -> tuple[float, ...]:
    if values.shape != (width,) or not np.isfinite(values).all():
        raise ValueError("invalid encoding")
    return tuple(float(value) for value in values)
