"""Readers of the file formats: each turns a path into features and, where the format carries them, targets.

A reader may raise what its library raises; :mod:`parsgd.cli.tables.read_data` turns that into one message about the
file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from parsgd.errors import DataFileError

_OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SVMLIGHT = (".svm", ".svmlight", ".libsvm")
# What stands for standard input.
PIPE = "-"
_PAIRS = (("X", "y"), ("X_train", "y_train"), ("X_test", "y_test"))
BUILT_IN = {
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits": "load_digits",
    "iris": "load_iris",
}


@dataclass
class Data:
    """What was read.

    ``features`` is a pandas DataFrame, an ndarray or a CSR matrix of ``n_rows``; ``target`` is ``(n_rows,)``, or None
    where it is (or may be) a column of the table; ``test`` is a second part that the file keeps apart for testing.
    """

    name: str
    features: Any
    target: np.ndarray | None = None
    test: Data | None = None
    said: list[str] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        return hasattr(self.features, "columns")

    @property
    def n_rows(self) -> int:
        return self.features.shape[0]


def read_csv(path: Path, as_text: Sequence[str] = ()) -> Data:
    """A table with a header.  The separator is the likeliest of comma, semicolon, tab and bar in the header."""
    with _OPENERS.get(path.suffix, open)(path, "rb") as file:
        return _read_csv(str(path), file, as_text)


def read_pipe(as_text: Sequence[str] = ()) -> Data:
    """The same from standard input, to its end."""
    if sys.stdin is None:
        raise DataFileError("is closed; pipe a CSV file into the command, as in cat data.csv | parsgd ... -")
    return _read_csv("standard input", io.BytesIO(sys.stdin.buffer.read()), as_text)


def _read_csv(name: str, file: BinaryIO, as_text: Sequence[str]) -> Data:
    import pandas as pd

    header = file.readline().decode("utf-8-sig")
    file.seek(0)
    if not header.strip():
        raise DataFileError("the file is empty; a header with the names of the columns was expected")
    separator = max(",;\t|", key=header.count)
    with warnings.catch_warnings():
        # pandas only warns of rows that are longer than the header
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file, sep=separator, dtype=dict.fromkeys(as_text, str), encoding="utf-8-sig", na_values=["?"],
            skipinitialspace=True, low_memory=False, index_col=False,
        )  # fmt: skip
    said = [] if separator == "," else [f"columns are separated by {separator!r}"]
    frame.columns = [str(name).strip() for name in frame.columns]
    return Data(name, frame, said=said)


def read_parquet(path: Path, as_text: Sequence[str] = ()) -> Data:
    """A table."""
    import pandas as pd

    frame = pd.read_parquet(path)
    frame.columns = [str(name) for name in frame.columns]
    return Data(str(path), frame)


def read_npz(path: Path, as_text: Sequence[str] = ()) -> Data:
    """Arrays ``X`` and ``y``, or ``X_train, y_train`` and perhaps ``X_test, y_test``; ``y`` may be missing."""
    if not zipfile.is_zipfile(path):
        raise DataFileError("the content is not that of an .npz file (numpy.savez), or the file is not complete")
    # opened here, because numpy leaves the file open when it fails
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = set(arrays.files)
        pair = next((pair for pair in _PAIRS if pair[0] in names), None)
        if pair is None:
            found = ", ".join(sorted(names)) or "nothing"
            raise DataFileError(f"arrays X and y (or X_train and y_train) were expected; the file holds {found}")
        data = _from_arrays(path, arrays, *pair)
        if pair[0] == "X_train" and {"X_test", "y_test"} <= names:
            data.test = _from_arrays(path, arrays, "X_test", "y_test")
    return data


def _from_arrays(path: Path, arrays: Any, x_name: str, y_name: str) -> Data:
    x, said = arrays[x_name], []
    if x.dtype.kind not in "biuf":
        raise DataFileError(f"{x_name} should hold numbers, and holds {x.dtype}")
    if x.ndim < 2:
        raise DataFileError(f"{x_name} should have rows and columns, and has shape {x.shape}")
    if x.ndim > 2:
        said.append(f"{x_name} of shape {x.shape}: each row of it became one row of {x[0].size:,} numbers")
        x = x.reshape(len(x), -1)
    y = arrays[y_name] if y_name in arrays.files else None
    if y is not None and y.shape not in ((len(x),), (len(x), 1)):
        raise DataFileError(f"{y_name} should have {len(x)} values, one a row of {x_name}; its shape is {y.shape}")
    return Data(str(path), x, None if y is None else y.ravel(), said=said)


def read_svmlight(path: Path, as_text: Sequence[str] = ()) -> Data:
    """Sparse rows with targets.  Columns are counted from 0; whether the file counts from 1 is decided later."""
    from sklearn.datasets import load_svmlight_file

    with _OPENERS.get(path.suffix, open)(path, "rb") as file:
        features, target = load_svmlight_file(file, zero_based=True, dtype=np.float32)
    return Data(str(path), features, target)


def read_built_in(name: str) -> Data:
    """A data set that scikit-learn brings along, as a table."""
    from sklearn import datasets

    bunch = getattr(datasets, BUILT_IN[name])(as_frame=True)
    target = bunch.target.to_numpy()
    if hasattr(bunch, "target_names") and len(bunch.target_names) and isinstance(bunch.target_names[0], str):
        target = np.array(bunch.target_names)[target]
    return Data(name, bunch.data, target)


def reader(path: Path) -> Callable[..., Data] | None:
    """The reader for a file of this name, or None."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        kind, packed = (suffixes[-2] if len(suffixes) > 1 else ""), True
    else:
        kind, packed = (suffixes[-1] if suffixes else ""), False
    if kind in _SVMLIGHT:
        return read_svmlight
    if kind == ".csv":
        return read_csv
    return {".parquet": read_parquet, ".npz": read_npz}.get(kind) if not packed else None
