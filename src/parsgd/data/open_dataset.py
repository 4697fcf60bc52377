"""``open_dataset``: creation of a :class:`Dataset` from files, tables, arrays or blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.columns.encoder import Encoder
from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import Piece
from parsgd.data.dataset import Dataset
from parsgd.data.formats.block_iterators import called_pieces, list_pieces, spooled_pieces
from parsgd.data.formats.npy_arrays import ArrayPiece, array_pieces
from parsgd.data.formats.paths import ENDINGS, Address, find_files
from parsgd.data.formats.svmlight import SvmlightColumns, svmlight_pieces
from parsgd.data.formats.tables import as_arrow, table_pieces
from parsgd.data.open_options import ONLY, OpenOptions
from parsgd.data.table_columns import columns_of_table
from parsgd.errors import DataFileError, InvalidArgumentError
from parsgd.utils import first_use

# What a folder is searched for.
_IN_FOLDERS = tuple(ending for ending in ENDINGS if ending != ".npy")
# Collections of other packages: top-level module of their types -> the function that opens them, ``function(data,
# request) -> Dataset``.
COLLECTIONS = {
    **dict.fromkeys(("dask", "distributed"), "parsgd.data.dask_collections:open_collection"),
    "ray": "parsgd.data.ray_collections:open_ray_data",
}


def open_dataset(
    data: Any,
    *,
    target: Any = None,
    columns: Any = None,
    weight: Any = None,
    filters: Any = None,
    format: str | None = None,
    dtype: Any = "float32",
    sparse: bool | None = None,
    shuffle_buffer_rows: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    n_features: int | None = None,
    zero_based: bool | None = None,
    header: Any = "auto",
    decimal: str = ".",
) -> Dataset:
    """Open data for out-of-core training.

    Parameters
    ----------
    data : str, path, list of these, array, table or blocks
        - Parquet: a file, a folder (also partitioned), an fsspec address such as ``s3://bucket/folder``.
        - CSV: ``.csv``, ``.tsv`` (also ``.gz``, ``.bz2``, ``.xz``) in UTF-8; the separator is detected.
        - svmlight: ``.svm``, ``.svmlight``, ``.libsvm`` (also compressed).
        - ``.npy`` files, memory-mapped or other arrays, CSR matrices; ``target`` and ``weight`` are then arrays or
          ``.npy`` files, too.
        - Blocks ``(X, y)`` or ``(X, y, weight)``: a list; a function that returns an iterator, called once per pass; or
          a generator. The blocks of a generator are kept in a temporary folder as long as the Dataset exists.
        - A table of pandas, polars or pyarrow; a Dask collection; a Dataset of Ray Data, or references to blocks.
        - Objects with the members of ``parsgd.data.contracts.Piece``: one, or a list.
    target : str or array, optional
        The column to predict.
    columns : optional
        Encoding of the columns. Either a list of :class:`~parsgd.columns.Numeric`, :class:`~parsgd.columns.OneHot`,
        :class:`~parsgd.columns.HashedCategories`, :class:`~parsgd.columns.Text` and names; or ``{name: kind}`` with
        kinds or the strings ``"numbers"``, ``"onehot"``, ``"hashed"``, ``"text"``; or the result of another Dataset or
        an estimator: ``dataset.columns``, ``estimator.columns_``. None: all columns, numbers as numbers, texts hashed.
        Means and scales are learned from at most 8,192 rows of each of 32 pieces, vocabularies from all rows.
    weight : str or array, optional
        The column with the sample weights.
    filters : optional
        Parquet only: rows to select, as for ``pyarrow.dataset`` (an expression, or a list of tuples).
    format : {"parquet", "csv", "svmlight", "npy"}, optional
        File format, if the file names lack its suffix.
    dtype : {"float32", "float64"}, default="float32"
    sparse : bool, optional
        True for CSR rows of a table. None: CSR if columns are hashed, or if less than 30 % of at least 50 features are
        nonzero.
    shuffle_buffer_rows : int, optional
        Number of rows per shuffle buffer; None: the number that fits in about 16 MiB.
    storage_options : dict, optional
        Options of fsspec.
    n_features : int, optional
        svmlight only: number of features; None: the number found.
    zero_based : bool, optional
        svmlight only: True if features count from 0; None: from 1 if no feature has the number 0.
    header : "auto", True, None or list of str, default="auto"
        CSV only. True: the first row holds the column names. None: no header, and columns are named ``f0``, ``f1``, ...
        A list: column names of files without a header. ``"auto"``: there is a header, and a first row that looks like
        data is refused.
    decimal : {".", ","}, default="."
        CSV only: the decimal point.

    Returns
    -------
    Dataset

    Raises
    ------
    parsgd.errors.DataFileError
        If there is no such file or column, or files are inconsistent.
    parsgd.errors.MissingDependencyError
        If a package is missing: ``pip install 'parsgd[files]'``.

    Examples
    --------
    >>> import parsgd
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> data = parsgd.open_dataset([(X[:50], y[:50]), (X[50:], y[50:])])
    >>> parsgd.SGDClassifier(loss="softmax", random_state=0).fit(data).score(data) > 0.7
    True
    """
    request = OpenOptions(
        target,
        columns,
        weight,
        filters,
        format,
        dtype,
        sparse,
        shuffle_buffer_rows,
        storage_options,
        n_features,
        zero_based,
        header,
        decimal,
    )
    dataset = _opened(data, request)
    if dataset.n_rows == 0:
        raise DataFileError(f"{dataset.name}: has no rows; at least one was expected.")
    return dataset


def _opened(data: Any, request: OpenOptions) -> Dataset:
    first = data[0] if isinstance(data, (list, tuple)) and data else data
    home = type(first).__module__.partition(".")[0]
    if home in COLLECTIONS:
        module, function = COLLECTIONS[home].split(":")
        return getattr(first_use.load(module), function)(data, request)
    if _is_path(data) or isinstance(data, (list, tuple)) and data and all(map(_is_path, data)):
        return _files(data, request)
    table = as_arrow(data)
    if table is not None:
        return _table(table, request)
    if isinstance(data, np.ndarray) or sparse.issparse(data):
        return _arrays(data, request, "the array")
    pieces = list(data) if isinstance(data, (list, tuple)) else [data]
    if pieces and all(isinstance(piece, Piece) for piece in pieces):
        return _pieces(pieces, request)
    return _blocks(data, request)


def _is_path(data: Any) -> bool:
    return isinstance(data, (str, os.PathLike, Address))


# -- files -------------------------------------------------------------------------------------------------------------


def _files(data: Any, request: OpenOptions) -> Dataset:
    names = [data] if _is_path(data) else list(data)
    name = str(names[0]) if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    addresses = find_files(data, request.storage_options, () if request.format else _IN_FOLDERS)
    formats = {request.format or _format_of(address) for address in addresses}
    if len(formats) > 1:
        raise DataFileError(f"{name}: holds files of several formats, {', '.join(sorted(formats))}; name those of one.")
    kind = formats.pop()
    for option, owner in ONLY.items():
        if kind != owner:
            request.refuse(f"{kind} files", option)
    if kind == "parquet":
        return _parquet(data, request, name)
    opener = {"csv": _csv, "svmlight": _svmlight, "npy": _npy}[kind]
    return opener(addresses, request, name)


def _format_of(address: Address) -> str:
    if address.format not in ENDINGS:
        raise DataFileError(
            f"{address}: the name does not end in a format that can be read ({', '.join(ENDINGS)}; of"
            " text also .gz, .bz2, .xz). Give format=."
        )
    return ENDINGS[address.format]


def _csv(addresses: list[Address], request: OpenOptions, name: str) -> Dataset:
    arrow()
    from parsgd.data.formats.csv import csv_pieces, csv_schema

    schema, layouts = csv_schema(addresses, request.header, request.decimal)
    columns = columns_of_table(schema, request, str(addresses[0]))
    return columns.dataset(csv_pieces(addresses, layouts, schema, columns.first_reading), name, layouts[0].notes)


def _parquet(data: Any, request: OpenOptions, name: str) -> Dataset:
    arrow()
    from parsgd.data.formats.parquet import open_parquet

    files = open_parquet(data, filters=request.filters, storage_options=request.storage_options)
    columns = columns_of_table(files.schema, request, files.path)
    return columns.dataset(files.pieces(columns.first_reading), name)


def _svmlight(addresses: list[Address], request: OpenOptions, name: str) -> Dataset:
    request.refuse("svmlight files, which bring their own targets", "target", "weight", "sparse")
    columns, notes = request.columns, []
    if isinstance(columns, SvmlightColumns):
        if request.zero_based is not None:
            columns = replace(columns, zero_based=request.zero_based)
        pieces, notes = columns.pieces(addresses, request.dtype)
    elif isinstance(columns, Encoder):
        raise DataFileError(f"{addresses[0]}: the model has named columns; give it a CSV or Parquet file.")
    else:
        request.refuse("svmlight files, which have no names of columns", "columns")
        pieces, columns = svmlight_pieces(addresses, request.n_features, request.zero_based, request.dtype)
    form = (columns.n_features, True, True, False)
    return Dataset.of_rows(pieces, request, name, form, columns=columns, notes=tuple(notes))


def _npy(addresses: list[Address], request: OpenOptions, name: str) -> Dataset:
    if len(addresses) != 1:
        raise DataFileError(f"{addresses[0]}: one .npy file was expected, and {len(addresses)} were given.")
    return _arrays(addresses[0].path, request, name)


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(table: Any, request: OpenOptions) -> Dataset:
    request.refuse("a table in memory", *ONLY, "format", "storage_options")
    columns = columns_of_table(table.schema, request, "the table")
    return columns.dataset(table_pieces(table, "the table", columns.first_reading), "the table")


# -- arrays and blocks -------------------------------------------------------------------------------------------------


def _arrays(data: Any, request: OpenOptions, name: str) -> Dataset:
    request.refuse("arrays", "columns", *ONLY, "sparse", "storage_options")
    pieces = array_pieces(data, request.target, request.weight, request.dtype, name)
    form = (pieces[0].x.shape[1] if pieces else 0, sparse.issparse(data))
    return Dataset.of_rows(pieces, request, name, (*form, request.target is not None, request.weight is not None))


def _pieces(pieces: list[Piece], request: OpenOptions) -> Dataset:
    _refuse_for_blocks("pieces", request)
    pieces = [piece for piece in pieces if piece.n_rows] or pieces[:1]
    name = pieces[0].name if len(pieces) == 1 else f"{pieces[0].name} and {len(pieces) - 1} more"
    return _checked(pieces, name, None, request)


def _refuse_for_blocks(what: str, request: OpenOptions) -> None:
    request.refuse(f"{what}, which bring their own targets and weights", "target", "weight")
    request.refuse(what, "columns", "filters", "n_features", "zero_based", "sparse", "format", "storage_options")


def _blocks(data: Any, request: OpenOptions) -> Dataset:
    _refuse_for_blocks("blocks", request)
    keeps = None
    if isinstance(data, (list, tuple)):
        pieces, name = list_pieces(data, request.dtype), f"{len(data)} block{'s' * (len(data) != 1)}"
    elif isinstance(data, Iterator):
        pieces, keeps = spooled_pieces(data, request.dtype)
        name = f"{len(pieces)} blocks of a generator"
    elif callable(data):
        pieces = called_pieces(data, request.dtype)
        name = pieces[0].name if pieces else "the function's blocks"
    elif isinstance(data, Iterable):
        pieces, name = called_pieces(data.__iter__, request.dtype), f"blocks of {type(data).__name__}"
    else:
        raise InvalidArgumentError(
            f"open_dataset takes paths, tables, arrays, or blocks (X, y). Got {type(data).__name__} instead."
        )
    if not pieces:
        raise DataFileError(f"{name}: there are no rows; at least one was expected.")
    return _checked(pieces, name, keeps, request)


def _checked(pieces: Sequence[Piece], name: str, keeps: object, request: OpenOptions) -> Dataset:
    """Build a Dataset of blocks; raise unless all are of one kind and width, with targets or without."""
    first = next(iter(pieces[0].chunks()), None)
    seen = [piece.form for piece in pieces if isinstance(piece, ArrayPiece)]
    for number, form in enumerate(seen):
        if form != seen[0]:
            raise DataFileError(
                f"Block {number} has {form}, and block 0 has {seen[0]}; all blocks must have the same form."
            )
    if first is None:
        raise DataFileError(f"{name}: the first block has no rows.")
    form = (first.x.shape[1], sparse.issparse(first.x), first.y is not None, first.weight is not None)
    return Dataset.of_rows(pieces, request, name, form, keeps=keeps)
