"""From what was read to what a model takes: learned on training rows, kept in the model file, applied ever after."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.cli.tables.read_data import Data, did_you_mean, list_names
from parsgd.cli.tables.table_columns import CategoryColumn, NumberColumn, TextColumn, as_numbers, days, plain_numbers
from parsgd.errors import DataFileError

# One-hot columns are kept sparse from this many columns on, if less than this share of the values is not 0.
_SPARSE_COLUMNS, _SPARSE_DENSITY = 50, 0.3
# Text of which more than this share of the rows are different, with so many words a row, is prose, not categories.
_DIFFERENT, _WORDS_A_ROW = 0.5, 3.0
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class EncodingOptions:
    """What the user asks of the encoding.  ``standardize=None``: dense data yes, sparse data no."""

    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    standardize: bool | None = None
    max_categories: int = 1000


@dataclass
class TableEncoding:
    """Of a table with named columns: numbers, then categories, then words.  ``wide``: the result is CSR."""

    numbers: NumberColumn
    categories: list[CategoryColumn] = field(default_factory=list)
    words: list[TextColumn] = field(default_factory=list)
    wide: bool = False
    single: bool = True

    @property
    def width(self) -> int:
        return self.numbers.width + sum(block.width for block in (*self.categories, *self.words))

    @property
    def columns(self) -> list[str]:
        return [*self.numbers.names, *(block.name for block in (*self.categories, *self.words))]

    @property
    def as_text(self) -> list[str]:
        """Columns that a reader must not take for numbers."""
        return [block.name for block in (*self.categories, *self.words)]

    def apply(self, data: Data) -> Any:
        """``(n_rows, width)``: an array, or a CSR matrix if ``wide``."""
        if not data.is_table:
            raise DataFileError(f"{data.name}: the model knows columns by name; give it a .csv or .parquet file.")
        frame = data.features
        lacking = [name for name in self.columns if name not in frame.columns]
        if lacking:
            hint = did_you_mean(lacking[0], frame.columns)
            raise DataFileError(f"{data.name}: lacks the column{'s' * (len(lacking) > 1)} {list_names(lacking)}.{hint}")
        dtype = np.float32 if self.single or self.wide else np.float64
        matrix = as_numbers(frame, self.numbers.names, self.numbers.dates, data.name)
        numbers = self.numbers.apply(matrix, dtype)
        blocks = [block.apply(frame) for block in (*self.categories, *self.words)]
        if self.wide:
            return sparse.hstack([sparse.csr_matrix(numbers), *blocks], format="csr", dtype=np.float32)
        return np.hstack([numbers, *(block.toarray().astype(dtype) for block in blocks)]) if blocks else numbers


@dataclass
class MatrixEncoding:
    """Of a matrix whose columns have no names."""

    numbers: NumberColumn
    single: bool = True
    as_text = ()

    @property
    def width(self) -> int:
        return self.numbers.width

    def apply(self, data: Data) -> np.ndarray:
        """``(n_rows, width)``."""
        matrix = data.features
        if data.is_table:
            names = [str(name) for name in matrix.columns]
            matrix = as_numbers(matrix, names, [], data.name)
        if sparse.issparse(matrix) or matrix.shape[1] != self.width:
            found = f"{matrix.shape[1]:,} {'sparse ' * sparse.issparse(matrix)}columns"
            raise DataFileError(f"{data.name}: the model takes {self.width:,} columns of numbers, it has {found}.")
        _refuse_infinite(data)
        return self.numbers.apply(matrix, np.float32 if self.single else np.float64)


@dataclass
class SparseEncoding:
    """Of sparse rows.  ``first`` is the number of the first column in the file, 0 or 1; ``scale`` divides columns."""

    width: int
    first: int
    scale: np.ndarray | None = None
    as_text = ()

    def apply(self, data: Data) -> sparse.csr_matrix:
        """``(n_rows, width)``; columns that the model does not know are left out."""
        matrix = data.features
        if not sparse.issparse(matrix):
            raise DataFileError(f"{data.name}: the model was fitted on sparse rows; give it an .svm file.")
        extra = matrix.shape[1] - self.first - self.width
        if extra > 0:
            data.said.append(f"{extra:,} columns that the model has not seen were left out")
        matrix = matrix[:, self.first : self.first + self.width]
        matrix.resize(matrix.shape[0], self.width)
        return matrix if self.scale is None else (matrix @ sparse.diags(1.0 / self.scale)).astype(np.float32).tocsr()


Encoding = TableEncoding | MatrixEncoding | SparseEncoding


def learn(data: Data, choices: EncodingOptions) -> tuple[Encoding, list[str]]:
    """The encoding of training data, and what there is to say about it."""
    if data.is_table:
        return _learn_table(data, choices)
    if choices.categorical or choices.drop:
        raise DataFileError(f"{data.name}: its columns have no names; leave out --categorical and --drop.")
    if sparse.issparse(data.features):
        return _learn_sparse(data.features, choices)
    standardize = choices.standardize is not False
    _refuse_infinite(data)
    numbers = NumberColumn.learn(data.features, [], [], standardize)
    said = [f"{numbers.width:,} columns of numbers{_standardized(standardize)}"]
    gaps = int(np.isnan(data.features).sum()) if data.features.dtype.kind == "f" else 0
    if gaps:
        said.append(f"{gaps:,} missing numbers took the medians of their columns")
    return MatrixEncoding(numbers, single=standardize), said


def _refuse_infinite(data: Data) -> None:
    if not data.is_table and np.isinf(data.features).any():
        raise DataFileError(f"{data.name}: holds infinite numbers; correct them, or write nan to take the median.")


def _learn_sparse(matrix: sparse.csr_matrix, choices: EncodingOptions) -> tuple[SparseEncoding, list[str]]:
    first = int(matrix.shape[1] > 1 and not (matrix.indices == 0).any())
    width = matrix.shape[1] - first
    said = [f"{width:,} sparse columns, counted from {first}"]
    if not choices.standardize:
        return SparseEncoding(width, first), [f"{said[0]}; left as they are (--standardize divides them)"]
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler(with_mean=False).fit(matrix[:, first:].astype(np.float64)).scale_
    return SparseEncoding(width, first, scale), [f"{said[0]}; divided by their standard deviations, not centred"]


def _learn_table(data: Data, choices: EncodingOptions) -> tuple[TableEncoding, list[str]]:
    frame = data.features
    unknown = [name for name in (*choices.categorical, *choices.drop) if name not in frame.columns]
    if unknown:
        hint = did_you_mean(unknown[0], frame.columns)
        raise DataFileError(f"{data.name}: has no column {unknown[0]!r}.{hint} There are {list_names(frame.columns)}.")
    kinds: dict[str, list[str]] = {kind: [] for kind in ("number", "date", "category", "words", "empty", "dropped")}
    for name in frame.columns:
        kinds[kind_of(frame[name], name, choices, data.name)].append(name)
    plain = [name for name in frame.columns if name in kinds["number"] or name in kinds["date"]]
    standardize = choices.standardize is not False
    matrix = as_numbers(frame, plain, kinds["date"], data.name)
    numbers = NumberColumn.learn(matrix, plain, kinds["date"], standardize)
    categories = [CategoryColumn.learn(frame[name], name, choices.max_categories) for name in kinds["category"]]
    encoding = TableEncoding(numbers, categories, [TextColumn(name) for name in kinds["words"]], single=standardize)
    if encoding.width == 0:
        raise DataFileError(f"{data.name}: no column is left to learn from.")
    filled = numbers.width + len(categories)
    sparse_enough = encoding.width >= _SPARSE_COLUMNS and filled < _SPARSE_DENSITY * encoding.width
    encoding.wide = bool(encoding.words) or sparse_enough
    return encoding, describe(encoding, kinds, frame, np.isnan(matrix).sum(axis=0), standardize)


def kind_of(column: Any, name: str, choices: EncodingOptions, where: str) -> str:
    """What a column holds: number, date, category or words; or empty or dropped."""
    import pandas as pd

    if name in choices.drop:
        return "dropped"
    known = column.dropna()
    if len(known) == 0:
        return "empty"
    if name in choices.categorical or isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    first = known.iloc[0]
    if hasattr(first, "isoformat") and not isinstance(first, pd.Timedelta):
        return "date"
    if not isinstance(first, (str, bool, np.bool_, Real, Decimal, pd.Timedelta)):
        raise DataFileError(
            f"{where}: column {name!r} holds values of type {type(first).__name__}, which cannot be learned from."
            f" Leave it out: --drop {name}"
        )
    if np.isfinite(plain_numbers(known)).all() or pd.api.types.is_numeric_dtype(column.dtype):
        return "number"
    return _kind_of_text(known.astype(str))


def _kind_of_text(known: Any) -> str:
    if known[:1000].str.match(_DATE).all() and not np.isnan(days(known)).any():
        return "date"
    prose = known[:1000].str.split().str.len().mean() >= _WORDS_A_ROW
    return "words" if prose and known.nunique() > _DIFFERENT * len(known) else "category"


def describe(encoding: TableEncoding, kinds: dict, frame: Any, gaps: np.ndarray, standardize: bool) -> list[str]:
    """What was done to which column, in words."""
    said, numbers = [], encoding.numbers
    if kinds["number"]:
        said.append(f"numbers{_standardized(standardize)}: {list_names(kinds['number'], 10)}")
    flags = [name for name in kinds["number"] if isinstance(frame[name].dropna().iloc[0], (bool, np.bool_))]
    if flags:
        said.append(f"True and False became 1 and 0: {list_names(flags, 10)}")
    if kinds["date"]:
        said.append(f"dates became days since 1970{_standardized(standardize)}: {list_names(kinds['date'], 10)}")
    holes = [(name, n, fill) for name, n, fill in zip(numbers.names, gaps, numbers.fill, strict=True) if n]
    said += [f"{name}: {n:,} missing values took the median, {fill:.6g}" for name, n, fill in holes[:10]]
    if holes[10:]:
        said.append(f"missing values took the medians in {len(holes) - 10} more columns")
    for block in encoding.categories:
        rest = "; rarer ones count as (other)" if block.other else ""
        gap = "; missing is a category" if block.missing else ""
        said.append(f"{block.name}: {len(block.categories):,} categories, a column of 0 and 1 each{rest}{gap}")
    said += [f"{block.name}: text, its words hashed into {block.width:,} columns" for block in encoding.words]
    if kinds["empty"]:
        said.append(f"empty, left out: {list_names(kinds['empty'], 10)}")
    if kinds["dropped"]:
        said.append(f"left out as asked: {list_names(kinds['dropped'], 10)}")
    return said


def _standardized(standardize: bool) -> str:
    return ", standardized to mean 0 and deviation 1" if standardize else ""
