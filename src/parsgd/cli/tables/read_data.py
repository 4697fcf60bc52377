"""Opening of data by name: files, folders, addresses, standard input and built-in data sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.option_groups import ColumnOptions, FileOptions
from parsgd.cli.tables.data_arrays import BUILT_IN, TARGET, load_built_in, read_npz
from parsgd.data.columns.column_specs import index_names
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.encoder import Encoder, PassThroughEncoder
from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import Piece, Reading, reread
from parsgd.data.dataset import Dataset
from parsgd.data.formats.paths import ENDINGS, Address, find_files, is_address
from parsgd.data.formats.svmlight import SvmlightColumns, rescaled
from parsgd.data.formats.tables import label_type, table_pieces
from parsgd.data.open_dataset import open_dataset
from parsgd.errors import DataFileError, did_you_mean
from parsgd.utils import temporary

# The name of standard input.
PIPE = "-"
# Larger files are streamed.
LARGE_BYTES = 1 << 30
_COMPRESSED = (".gz", ".bz2", ".xz")
# Estimated ratio of uncompressed to compressed size of text.
_COMPRESSION_RATIO = 5
_READABLE = (".csv", ".tsv", ".parquet", ".pq", ".npz", ".svm", ".svmlight", ".libsvm")
_KINDS = ".csv or .tsv (also .gz, .bz2, .xz), .parquet, .npz, .svm (also .svmlight, .libsvm; .gz, .bz2, .xz)"
# More distinct numbers than this are refused as classes: they are probably regression targets.
_MAX_NUMBER_CLASSES = 1000
_REGRESSORS = "--model sgd-regressor or mlp-regressor"
# More distinct numbers than this cause a note.
_MANY_NUMBER_CLASSES = 20


@dataclass(frozen=True)
class Data:
    """Opened data: Arrow batches of a table with the schema ``schema``, or CSR rows of svmlight files.

    ``dtype`` is that of a matrix without column names.  ``keeps`` is a temporary folder that must exist as long.
    """

    name: str
    dataset: Dataset
    schema: Any = None
    target: str | None = None
    # the format or the data set defines the target
    predefined_target: bool = False
    # the test set of the file
    test: Data | None = None
    dtype: str | None = None
    # the reason for streaming; None if the rows are in memory
    stream_reason: str | None = None
    notes: tuple[str, ...] = ()
    keeps: temporary.TemporaryFolder | None = field(default=None, repr=False)

    @property
    def is_table(self) -> bool:
        return self.schema is not None

    @property
    def has_targets(self) -> bool:
        """True if the rows have targets; svmlight rows always have."""
        return self.target is not None or not self.is_table

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows

    @property
    def n_columns(self) -> int:
        """The number of columns without the target."""
        return self.dataset.n_features if self.schema is None else len(self.schema.names) - (self.target is not None)

    @property
    def names(self) -> list[str]:
        """The names of possible features."""
        excluded = {self.target, *index_names(self.schema)}
        return [name for name in self.schema.names if name not in excluded]

    @property
    def labels(self) -> str | None:
        """The type of the targets: ``text``, ``number`` or ``boolean``."""
        return None if self.schema is None or self.target is None else label_type(self.schema.field(self.target).type)

    def targets(self, task: str, labels: str | None = None) -> tuple[np.ndarray, list[str]]:
        """Return all targets in the type of the task, and notes."""
        return as_targets(self.of_targets(task, labels).head_targets(self.n_rows), task, self.name)

    def of_targets(self, task: str, labels: str | None = None) -> Dataset:
        """Return a Dataset that reads only the targets of a table, for scans."""
        if not self.is_table:
            return self.dataset
        encoder = PassThroughEncoder(labels=labels or (self.labels if task == "classes" else "number"))
        pieces = tuple(reread(piece, encoder=encoder, target=self.target) for piece in self.dataset.pieces)
        return replace(self.dataset, pieces=pieces, target=True)

    def encoded(self, encoder: Encoder | SvmlightColumns, target: str | None) -> Dataset:
        """Return the rows as a Dataset that encodes them; raise DataFileError if the data lack its columns."""
        if isinstance(encoder, SvmlightColumns):
            if self.is_table:
                raise DataFileError(f"{self.name}: the model was fitted on sparse rows; use an .svm file.")
            pieces = tuple(rescaled(piece, encoder.scale) for piece in self.dataset.pieces)
            return replace(self.dataset, pieces=pieces, columns=encoder)
        if not self.is_table:
            raise DataFileError(f"{self.name}: the model was fitted on named columns; use a .csv or .parquet file.")
        known = set(self.schema.names)
        missing = [name for name in encoder.columns if name not in known]
        if missing:
            hint = did_you_mean(missing[0], self.schema.names)
            raise DataFileError(f"{self.name}: has no column{'s' * (len(missing) > 1)} {list_names(missing)}.{hint}")
        pieces = tuple(reread(piece, encoder=encoder, target=target) for piece in self.dataset.pieces)
        layout = (encoder.n_features, encoder.dtype, encoder.sparse)
        return Dataset(pieces, *layout, self.name, target is not None, columns=encoder, keeps=self.keeps)


class _AllColumns:
    """A column specification that selects all columns unencoded, and stores the schema."""

    def __init__(self, texts: Sequence[str]):
        self.texts, self.schema = tuple(texts), None

    def learn(self, columns: tuple[str, ...], pieces: Sequence[Piece], schema: Any) -> PassThroughEncoder:
        self.schema = schema
        known = set(schema.names)
        return PassThroughEncoder(columns, tuple(name for name in self.texts if name in known))


def read(
    names: str | Sequence[str],
    options: FileOptions | None = None,
    stream: bool | None = None,
    columns: Encoder | SvmlightColumns | None = None,
    target: str | None = None,
) -> Data:
    """Open files, a folder, an address, standard input or a built-in data set; raise DataFileError if unreadable.

    With the ``columns`` of a model, only these columns and ``target`` are read from CSV files.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    options = options or FileOptions()
    stream_reason = _stream_reason(names, stream)
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    path = Path(names[0])
    if names[0] in BUILT_IN and not path.exists():
        _refuse_names(options, name)
        return _of_table(load_built_in(name), name)
    if names[0] == PIPE:
        return _pipe(options, columns, target)
    for one in names:
        _check(one)
    npz = path.suffix.lower() == ".npz" and len(names) == 1
    if not npz and not is_svmlight_name(names[0]):
        return _table(list(names), name, options, stream_reason, columns, target)
    _refuse_names(options, name)
    if npz:
        return _npz(path)
    if isinstance(columns, Encoder):
        raise DataFileError(f"{name}: the model was fitted on named columns; use a .csv or .parquet file.")
    dataset = open_dataset(list(names), columns=columns, zero_based=options.zero_based)
    return Data(
        name, replace(dataset, name=name), predefined_target=True, stream_reason=stream_reason, notes=dataset.notes
    )


def _table(
    data: list[str] | list[Address],
    name: str,
    options: FileOptions,
    stream_reason: str | None,
    columns: Encoder | SvmlightColumns | None,
    target: str | None,
) -> Data:
    encoder = columns if isinstance(columns, Encoder) else None
    learn = options if isinstance(options, ColumnOptions) else ColumnOptions()
    texts = tuple(learn.categorical or ()) if encoder is None else encoder.texts
    if encoder is not None and encoder.labels == "text" and target is not None:
        texts = (*texts, target)
    all_columns, csv = _AllColumns(texts), is_csv(data[0])
    if not csv:
        _refuse_names(options, name)
    settings = {"header": options.csv_header, "decimal": options.decimal} if csv else {}
    dataset = replace(open_dataset(data, columns=all_columns, **settings), name=name)
    if csv and stream_reason is None:
        # parse the text once
        present = set(all_columns.schema.names)
        known = present - set(learn.drop or ()) if encoder is None else present & {*encoder.columns, target}
        kept = [column for column in all_columns.schema.names if column in known]
        numbers = () if encoder is None else tuple(column for column in encoder.numbers if column in known)
        held = PassThroughEncoder(tuple(kept), tuple(text for text in texts if text in known), numbers)
        pieces = [reread(piece, encoder=held, target=None) for piece in dataset.pieces]
        batches = [chunk.x for piece in pieces for chunk in piece.chunks()]
        table = arrow().Table.from_batches(batches).combine_chunks()
        dataset = replace(dataset, pieces=tuple(table_pieces(table, name, Reading(held))))
    return Data(name, dataset, all_columns.schema, stream_reason=stream_reason, notes=dataset.notes)


def _refuse_names(options: FileOptions, name: str) -> None:
    if options.names is not None:
        raise UsageError(f"{name}: --names are for CSV without a header; remove --names.")


def is_csv(name: str | Address) -> bool:
    """Return True for a CSV file, its address, or a folder with CSV files."""
    if isinstance(name, Address):
        return True
    return any(address.format in (".csv", ".tsv") for address in find_files(name, None, _READABLE) or ())


def is_svmlight_name(name: str) -> bool:
    """Return True if the file, or the first file in the folder, is in svmlight format."""
    (first, *_) = find_files(name, None, _READABLE if Path(name).is_dir() else ())
    return ENDINGS.get(first.format) == "svmlight"


def _of_table(table: Any, name: str, dtype: str | None = None, notes: Sequence[str] = ()) -> Data:
    names = tuple(table.schema.names)
    pieces = table_pieces(table, name, Reading(PassThroughEncoder(names)))
    if not pieces:
        raise DataFileError(f"{name}: the file has no rows; at least one was expected.")
    target = TARGET if TARGET in names else None
    dataset = Dataset(tuple(pieces), 0, "float32", False, name)
    return Data(name, dataset, table.schema, target, True, dtype=dtype, notes=tuple(notes))


def _npz(path: Path) -> Data:
    table, test, dtype, notes = read_npz(path)
    data = _of_table(table, str(path), dtype, notes)
    return data if test is None else replace(data, test=_of_table(test, str(path), dtype))


def _pipe(options: FileOptions, columns: Encoder | SvmlightColumns | None, target: str | None) -> Data:
    """Read standard input to its end into a temporary CSV file, and open it."""
    if sys.stdin is None:
        raise DataFileError("standard input is closed; pipe a CSV file into the command: cat data.csv | parsgd ... -")
    folder = temporary.TemporaryFolder("pipe")
    path = folder.path / "input.csv"
    path.write_bytes(sys.stdin.buffer.read())
    data = _table([Address(str(path), shown="standard input")], "standard input", options, None, columns, target)
    return replace(data, keeps=folder)


def _check(name: str) -> None:
    path = Path(name)
    if is_address(name) or path.is_dir():
        return
    if not path.exists():
        near = [near.name for near in (path.parent.iterdir() if path.parent.is_dir() else ()) if readable(near)]
        hint = did_you_mean(path.name, near + list(BUILT_IN))
        raise DataFileError(f"{path}: the file does not exist.{hint} Built-in data sets are {', '.join(BUILT_IN)}.")
    if not readable(path):
        raise DataFileError(f"{path}: unsupported file name extension. Supported are {_KINDS}.")


def readable(path: Path) -> bool:
    """Return True if the extension of the file name is supported."""
    address = Address(str(path))
    return address.format in _READABLE and not (address.packed and address.format in (".parquet", ".pq", ".npz"))


def _stream_reason(names: Sequence[str], requested: bool | None) -> str | None:
    """Return the reason for streaming, or None; ``requested`` is the value of ``--stream``, None if omitted."""
    if PIPE in names:
        if requested or len(names) > 1:
            raise UsageError(
                "-: standard input cannot be streamed or combined with files; remove --stream and the files."
            )
        return None
    path, several = Path(names[0]), len(names) > 1
    array = names[0] in BUILT_IN or path.suffix.lower() == ".npz"
    if requested is False:
        if several:
            raise UsageError("--no-stream: several files are always streamed; remove --no-stream, or use one file.")
        return None
    if several or path.is_dir() or is_address(names[0]):
        return f"{len(names)} files" if several else "a folder" if path.is_dir() else "an address"
    if requested:
        if array:
            raise UsageError(f"--stream: {names[0]} cannot be streamed; Parquet, CSV and svmlight files can.")
        return "--stream"
    size = path.stat().st_size if path.is_file() and not array else 0
    estimate = size * (_COMPRESSION_RATIO if path.suffix.lower() in _COMPRESSED else 1)
    return f"{estimate / 1e9:.1f} GB" if estimate > LARGE_BYTES else None


def as_targets(found: np.ndarray, task: str, name: str) -> tuple[np.ndarray, list[str]]:
    """Return targets in the type of the task, and notes; raise DataFileError for numbers that are not classes."""
    if task != "classes":
        return found.astype(np.float64 if task == "numbers" else np.int64), []
    if found.dtype.kind not in "iuf":
        return found, []
    classes = np.unique(found)
    whole = bool(np.all(classes == np.floor(classes)))
    if not whole or len(classes) > _MAX_NUMBER_CLASSES:
        fractional = classes[classes != np.floor(classes)]
        found_text = f"{len(classes):,} distinct numbers" if whole else f"numbers such as {fractional[0]}"
        raise DataFileError(f"{name}: classes were expected, but the target has {found_text}. Use {_REGRESSORS}.")
    notes = []
    if len(classes) > _MANY_NUMBER_CLASSES:
        notes = [f"{len(classes):,} distinct numbers used as classes; for regression use {_REGRESSORS}"]
    return found.astype(np.int64) if np.abs(classes).max(initial=0) < 2**53 else found, notes
