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
    columns, names = vars(estimator).get("columns_"), vars(estimator).get("feature_names_in_")
    if columns is None and notes is not None:
        try:
            columns = _version_0_1_encoding(notes, vars(estimator).get("classes_"))
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


def _version_0_1_encoding(notes: dict[str, Any], classes: np.ndarray | None) -> Encoder | SvmlightColumns:
    """Return the encoding that version 0.1 stored in notes."""
    notes = dict(notes)
    kind = notes.pop("kind")
    labels = "number" if classes is None else label_type(classes)
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
    # in the order of the columns, which is that of the coefficients
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
        policies = ["indicator" if block[key] else "ignore" for key in ("other", "missing")]
        kinds.append(OneHot(block["name"], tuple(block["categories"]), *policies))
    for block in notes["words"]:
        _require(block["width"] < 2**31)
        kinds.append(Text(block["name"], block["width"], alternate_sign=False, missing="ignore"))
    wide = bool(notes["wide"])
    return Encoder(tuple(kinds), "float32" if single or wide else "float64", wide, labels)


def _floats(values: np.ndarray, width: int) -> tuple[float, ...]:
    _require(values.shape == (width,) and np.isfinite(values).all())
    return tuple(float(value) for value in values)


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("invalid encoding")
