"""Data by name: read, find the target, drop the rows that lack one; every failure is one sentence about the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import did_you_mean
from parsgd.cli.tables import file_readers
from parsgd.cli.tables.file_readers import BUILT_IN, PIPE, Data
from parsgd.cli.tables.table_columns import shown
from parsgd.errors import DataFileError, MissingDependencyError

_KINDS = ".csv (also .gz, .bz2, .xz), .parquet, .npz, .svm (also .svmlight, .libsvm; .gz, .bz2, .xz)"
# Numbers as classes: above this many it is far likelier that a regression was meant.
_MOST_NUMBER_CLASSES = 1000
_REGRESSORS = "--model sgd-regressor or mlp-regressor"
# Above this many it is worth a word.
_MANY_NUMBER_CLASSES = 20


def read(name: str, as_text: Sequence[str] = ()) -> Data:
    """What the file or the built-in data set ``name`` holds; columns ``as_text`` are not taken for numbers.

    Raises
    ------
    DataFileError
        If it cannot be read; says which file, what was expected, what came, and what to do.
    """
    path = Path(name)
    if name in BUILT_IN and not path.exists():
        return file_readers.read_built_in(name)
    if name == PIPE:
        name, kind, read_it = "standard input", ".csv", partial(file_readers.read_pipe, as_text)
    else:
        reader = file_readers.reader(path)
        _check(path, reader)
        kind, read_it = "".join(path.suffixes[-2:]), partial(reader, path, as_text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = read_it()
    except DataFileError as error:
        raise DataFileError(f"{name}: {error}.") from error
    except MemoryError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f"Reading {name} needs pandas and pyarrow: pip install 'parsgd[cli]'") from error
    except Exception as error:  # each of five libraries has its own idea of what to raise for a bad file
        raise DataFileError(
            f"{name}: cannot be read as {kind}: {_first_line(error)}."
            " Is the file complete, and does its name end as its content is?"
        ) from error
    if data.n_rows == 0:
        raise DataFileError(f"{name}: the file has no rows; at least one was expected.")
    if data.is_table and not data.features.columns.is_unique:
        twice = data.features.columns[data.features.columns.duplicated()]
        raise DataFileError(f"{name}: two columns are called {twice[0]!r}; give each its own name.")
    return data


def _check(path: Path, reader: Any) -> None:
    if not path.exists():
        near = [near for near in (path.parent.iterdir() if path.parent.is_dir() else ()) if file_readers.reader(near)]
        hint = did_you_mean(path.name, [n.name for n in near] + list(BUILT_IN))
        raise DataFileError(f"{path}: there is no such file.{hint} Built-in data sets are {', '.join(BUILT_IN)}.")
    if path.is_dir():
        raise DataFileError(f"{path}: is a folder; name a file in it.")
    if reader is None:
        raise DataFileError(f"{path}: the name does not end in a format that can be read. These can: {_KINDS}.")


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def list_names(names: Iterable[str], most: int = 20) -> str:
    """Names in one line, the first ``most`` of them."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def take_target(data: Data, column: str | None, needed: bool) -> Data:
    """The data with its target apart from its features."""
    if not data.is_table or data.target is not None:
        if column is not None:
            raise DataFileError(f"{data.name}: brings its own target; leave out --target {column}.")
        if needed and data.target is None:
            raise DataFileError(f"{data.name}: holds X but no y; a target was expected.")
        return data
    columns = list(data.features.columns)
    if column is None:
        if needed:
            raise DataFileError(f"{data.name}: name the column to predict, --target COLUMN, of {list_names(columns)}.")
        return data
    if column not in columns:
        hint = did_you_mean(column, columns)
        raise DataFileError(f"{data.name}: has no column {column!r}.{hint} Its columns are {list_names(columns)}.")
    return replace(data, features=data.features.drop(columns=[column]), target=data.features[column])


def clean(data: Data, task: str) -> Data:
    """Without the rows whose target is missing; targets as the ``task`` needs them.

    ``classes`` and ``numbers`` need them; for ``outliers`` they only serve to score, and only if they are -1 and 1.
    """
    import pandas as pd

    if data.target is None:
        return data
    if task == "outliers":
        numbers = pd.to_numeric(pd.Series(data.target), errors="coerce")
        if numbers.isin([-1, 1]).all():
            return replace(data, target=numbers.to_numpy(dtype=np.int64))
        return replace(data, target=None, said=[*data.said, "the target is not -1 and 1, so it is not used"])
    target = pd.Series(data.target).reset_index(drop=True)
    known = target.notna().to_numpy()
    said = list(data.said)
    if not known.all():
        said.append(f"{int((~known).sum()):,} of {len(known):,} rows have no target; they were left out")
        target = target[known]
    if len(target) == 0:
        raise DataFileError(f"{data.name}: no row has a target.")
    features = rows(data.features, np.flatnonzero(known)) if not known.all() else data.features
    target = _as_numbers(target, data.name) if task == "numbers" else _as_classes(target, data.name)
    n_classes = len(np.unique(target)) if task == "classes" and target.dtype.kind in "if" else 0
    if n_classes > _MANY_NUMBER_CLASSES:
        said.append(f"{n_classes:,} different numbers were taken for classes; for numbers: {_REGRESSORS}")
    return replace(data, features=features, target=target, said=said)


def rows(features: Any, numbers: np.ndarray) -> Any:
    """The rows with these numbers of a table, an array or a CSR matrix."""
    return features.iloc[numbers] if hasattr(features, "iloc") else features[numbers]


def _as_numbers(target: Any, name: str) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(target.astype(float) if target.dtype == bool else target, errors="coerce")
    numbers = numbers.to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(numbers)
    if bad.any():
        at = target.index[np.argmax(bad)]
        raise DataFileError(
            f"{name}: a regression needs numbers as targets; row {at + 1} has {shown(target[at])}."
            " To predict classes, take --model sgd-classifier."
        )
    return numbers


def _as_classes(target: Any, name: str) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_bool_dtype(target.dtype):
        return target.to_numpy(dtype=bool)
    if not pd.api.types.is_numeric_dtype(target.dtype):
        # a dtype of its own for text or categories, or objects: all are compared as text
        return np.array([str(value) for value in target.to_numpy(dtype=object)])
    numbers = target.to_numpy(dtype=float)
    whole = np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()
    n_classes = len(np.unique(numbers))
    if not whole or n_classes > _MOST_NUMBER_CLASSES:
        broken = numbers[numbers != np.floor(numbers)]
        example = broken[0] if len(broken) else np.inf
        found = f"{n_classes:,} different numbers" if whole else f"numbers such as {example}"
        raise DataFileError(f"{name}: classes were expected, and the target holds {found}. Take {_REGRESSORS}.")
    return numbers.astype(np.int64) if np.abs(numbers).max() < 2**53 else numbers
