"""Arrow tables of arrays: .npz files and the data sets of scikit-learn."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.data.columns.numeric import arrow
from parsgd.errors import DataFileError

TARGET = "target"
_PAIRS = (("X", "y"), ("X_train", "y_train"), ("X_test", "y_test"))
BUILT_IN = {
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits": "load_digits",
    "iris": "load_iris",
}


def make_table(x: np.ndarray, names: Sequence[str], y: np.ndarray | None) -> Any:
    """Return an Arrow table of the columns of ``x``, and of ``y`` unless it is None."""
    pa = arrow()
    x = x.astype(np.float32) if x.dtype == np.float16 else x
    columns = np.ascontiguousarray(x.T.astype(x.dtype.newbyteorder("="), copy=False))
    arrays = [pa.array(column) for column in columns]
    named = dict(zip(names, arrays, strict=True))
    return pa.table(named if y is None else named | {TARGET: pa.array(y)})


def load_built_in(name: str) -> Any:
    """Load a data set of scikit-learn as an Arrow table."""
    from sklearn import datasets

    bunch = getattr(datasets, BUILT_IN[name])()
    target = bunch.target
    if hasattr(bunch, "target_names") and len(bunch.target_names) and isinstance(bunch.target_names[0], str):
        target = np.array(bunch.target_names)[target]
    return make_table(bunch.data, [str(name) for name in bunch.feature_names], target)


def read_npz(path: Path) -> tuple[Any, Any, str, list[str]]:
    """Read arrays ``X, y``, or ``X_train, y_train`` and ``X_test, y_test``.

    Returns ``(table, test_table, dtype, notes)``; ``test_table`` is None without test arrays.  Raises DataFileError for
    an invalid file, or one without these arrays.
    """
    if not zipfile.is_zipfile(path):
        raise DataFileError(f"{path}: not an .npz file of numpy.savez, or incomplete.")
    try:
        # opened here, because numpy does not close the file after an error
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            pair = next((pair for pair in _PAIRS if pair[0] in arrays.files), None)
            if pair is None:
                found = ", ".join(sorted(arrays.files)) or "nothing"
                raise DataFileError(
                    f"{path}: arrays X and y (or X_train and y_train) were expected; the file holds {found}."
                )
            table, dtype, notes = _read_pair(path, arrays, *pair)
            test = None
            if pair[0] == "X_train" and {"X_test", "y_test"} <= set(arrays.files):
                test, *_ = _read_pair(path, arrays, "X_test", "y_test")
            return table, test, dtype, notes
    except (DataFileError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataFileError(f"{path}: cannot be read as .npz: {reason}. Is the file complete?") from error


def _read_pair(path: Path, arrays: Any, x_name: str, y_name: str) -> tuple[Any, str, list[str]]:
    """Return the table of a pair of arrays, the type of ``x``, and notes."""
    x, notes = arrays[x_name], []
    if x.dtype.kind not in "biuf":
        raise DataFileError(f"{path}: {x_name} must contain numbers; its type is {x.dtype}.")
    if x.ndim < 2:
        raise DataFileError(f"{path}: {x_name} must have rows and columns; its shape is {x.shape}.")
    if x.ndim > 2:
        notes.append(f"{x_name} of shape {x.shape} was reshaped to {x[0].size:,} columns")
        x = x.reshape(len(x), -1)
    y = arrays[y_name] if y_name in arrays.files else None
    if y is not None and y.shape not in ((len(x),), (len(x), 1)):
        raise DataFileError(
            f"{path}: {y_name} must have {len(x)} values, one per row of {x_name}; its shape is {y.shape}."
        )
    table = make_table(x, [f"x{i}" for i in range(x.shape[1])], None if y is None else y.ravel())
    return table, str(x.dtype), notes
