"""Data by name: files, folders, addresses, standard input and built-in data sets, opened."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import UsageError, did_you_mean
from parsgd.cli.tables.data_arrays import BUILT_IN, TARGET, built_in, npz_tables
from parsgd.cli.tables.learn_columns import EncodingOptions
from parsgd.data.columns.column_specs import index_names
from parsgd.data.columns.column_specs import listed as list_names
from parsgd.data.columns.encoder import EmptyEncoder, Encoder, PassThroughEncoder
from parsgd.data.columns.numeric import arrow
from parsgd.data.dataset import Dataset
from parsgd.data.formats.paths import Address, find_files, is_address
from parsgd.data.formats.svmlight import SvmlightColumns, is_svmlight
from parsgd.data.formats.tables import label_type, table_pieces
from parsgd.data.open_dataset import open_dataset
from parsgd.data.subsets import reread
from parsgd.errors import DataFileError
from parsgd.utils import temporary

# What stands for standard input.
PIPE = "-"
# Larger files are not held in memory.
LARGE_BYTES = 1 << 30
_PACKED = (".gz", ".bz2", ".xz")
# A packed text is about so many times as large.
_UNPACKED = 5
_READABLE = (".csv", ".parquet", ".pq", ".npz", ".svm", ".svmlight", ".libsvm")
_KINDS = ".csv (also .gz, .bz2, .xz), .parquet, .npz, .svm (also .svmlight, .libsvm; .gz, .bz2, .xz)"
# Numeric as classes: above this many it is far likelier that a regression was meant.
_MOST_NUMBER_CLASSES = 1000
_REGRESSORS = "--model sgd-regressor or mlp-regressor"
# Above this many it is worth a word.
_MANY_NUMBER_CLASSES = 20


@dataclass(frozen=True)
class Data:
    """What was opened: ``dataset`` gives Arrow batches of a table with this ``schema``, or CSR rows of svmlight files.

    ``target`` is the column to predict; ``brings_target``: whether the format says which.  ``test`` is a second part
    that the file keeps apart for testing.  ``dtype`` is that of a matrix whose columns have no names.  ``why`` says why
    rows are streamed; None: they are held in memory.  ``said`` are remarks.
    """

    name: str
    dataset: Dataset
    schema: Any = None
    target: str | None = None
    brings_target: bool = False
    test: Data | None = None
    dtype: str | None = None
    why: str | None = None
    said: tuple[str, ...] = ()
    keeps: Any = field(default=None, repr=False)

    @property
    def is_table(self) -> bool:
        return self.schema is not None

    @property
    def n_rows(self) -> int:
        return self.dataset.n_rows

    @property
    def n_columns(self) -> int:
        """Columns, the target apart."""
        return self.dataset.n_features if self.schema is None else len(self.schema.names) - (self.target is not None)

    @property
    def names(self) -> list[str]:
        """Names of the columns that may be features."""
        apart = {self.target, *index_names(self.schema)}
        return [name for name in self.schema.names if name not in apart]

    @property
    def labels(self) -> str | None:
        """The type of the targets: ``text``, ``number`` or ``boolean``."""
        return None if self.schema is None or self.target is None else label_type(self.schema.field(self.target).type)

    def targets(self, task: str, labels: str | None = None) -> tuple[np.ndarray, list[str]]:
        """All targets as a task takes them, and remarks."""
        dataset = self.dataset
        if self.is_table:
            encoder = EmptyEncoder(labels=labels or ("number" if task != "classes" else self.labels))
            pieces = tuple(reread(piece, encoder=encoder, target=self.target) for piece in dataset.pieces)
            dataset = replace(dataset, pieces=pieces, target=True)
        return as_targets(dataset.head_targets(self.n_rows), task, self.name)

    def encoded(self, encoder: Encoder | SvmlightColumns, target: str | None) -> Dataset:
        """The rows as a model takes them.

        Raises
        ------
        DataFileError
            If a column is lacking that the encoder needs.
        """
        if isinstance(encoder, SvmlightColumns):
            if self.is_table:
                raise DataFileError(f"{self.name}: the model was fitted on sparse rows; give it an .svm file.")
            pieces = tuple(reread(piece, scale=encoder.scale) for piece in self.dataset.pieces)
            return replace(self.dataset, pieces=pieces, columns=encoder)
        if not self.is_table:
            raise DataFileError(f"{self.name}: the model knows columns by name; give it a .csv or .parquet file.")
        known = set(self.schema.names)
        lacking = [name for name in encoder.columns if name not in known]
        if lacking:
            hint = did_you_mean(lacking[0], self.schema.names)
            raise DataFileError(f"{self.name}: lacks the column{'s' * (len(lacking) > 1)} {list_names(lacking)}.{hint}")
        pieces = tuple(reread(piece, encoder=encoder, target=target) for piece in self.dataset.pieces)
        return Dataset(
            pieces, encoder.n_features, encoder.dtype, encoder.sparse, self.name, target is not None, columns=encoder,
            keeps=self.keeps,
        )  # fmt: skip


class _AllColumns:
    """All columns of a table as they are, and its schema."""

    def __init__(self, texts: Sequence[str]):
        self.texts, self.schema = tuple(texts), None

    def learn(self, columns: tuple[str, ...], pieces: Sequence[Any], schema: Any) -> PassThroughEncoder:
        self.schema = schema
        known = set(schema.names)
        return PassThroughEncoder(columns, tuple(name for name in self.texts if name in known))


def read(
    names: str | Sequence[str],
    options: EncodingOptions | None = None,
    stream: bool | None = None,
    columns: Encoder | SvmlightColumns | None = None,
    target: str | None = None,
) -> Data:
    """Open files, a folder, an address, standard input or a built-in data set.

    ``columns`` are those of a model, if there is one; of a CSV file only these and ``target`` are then read.

    Raises
    ------
    DataFileError
        If they cannot be read; names the file, what was expected, what came, and what to do.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    options = options or EncodingOptions()
    why = _why_streamed(names, stream)
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    path = Path(names[0])
    if names[0] in BUILT_IN and not path.exists():
        return _of_table(built_in(name), name)
    if names[0] == PIPE:
        return _pipe(options, columns, target)
    for one in names:
        _check(one)
    if path.suffix.lower() == ".npz" and len(names) == 1:
        return _npz(path)
    if not svmlight(names[0]):
        return _table(list(names), name, options, why, columns, target)
    if isinstance(columns, Encoder):
        raise DataFileError(f"{name}: the model knows columns by name; give it a .csv or .parquet file.")
    dataset = open_dataset(list(names), columns=columns, zero_based=options.zero_based)
    return Data(name, replace(dataset, name=name), brings_target=True, why=why, said=dataset.notes)


def _table(
    data: list[Any], name: str, options: EncodingOptions, why: str | None, columns: Any, target: str | None
) -> Data:  # fmt: skip
    encoder = columns if isinstance(columns, Encoder) else None
    texts = options.categorical if encoder is None else encoder.texts
    if encoder is not None and encoder.labels == "text" and target is not None:
        texts = (*texts, target)
    everything, csv = _AllColumns(texts), is_csv(data[0])
    settings = {"header": options.header, "decimal": options.decimal} if csv else {}
    dataset = replace(open_dataset(data, columns=everything, **settings), name=name)
    if csv and why is None:
        # texts are parsed once
        unread = set(options.drop) if encoder is None else set(everything.schema.names) - {*encoder.columns, target}
        kept = [column for column in everything.schema.names if column not in unread]
        known = set(kept)
        numbers = () if encoder is None else tuple(column for column in encoder.numbers if column in known)
        held = PassThroughEncoder(tuple(kept), tuple(text for text in texts if text in known), numbers)
        pieces = [reread(piece, encoder=held, target=None) for piece in dataset.pieces]
        batches = [chunk.x for piece in pieces for chunk in piece.chunks()]
        table = arrow().Table.from_batches(batches).combine_chunks()
        dataset = replace(dataset, pieces=tuple(table_pieces(table, name, held, None, None)))
    return Data(name, dataset, everything.schema, why=why, said=dataset.notes)


def is_csv(name: Any) -> bool:
    """Whether data are CSV: an address of such a file, or a folder that holds some."""
    if isinstance(name, Address):
        return True
    return any(address.format == ".csv" for address in find_files(name, None, _READABLE) or ())


def svmlight(name: str) -> bool:
    """Whether a file, or the first one in a folder, is of sparse rows."""
    return is_svmlight(find_files(name, None, _READABLE if Path(name).is_dir() else ())[0].format)


def _of_table(table: Any, name: str, dtype: str | None = None, said: Sequence[str] = ()) -> Data:
    names = tuple(table.schema.names)
    pieces = table_pieces(table, name, PassThroughEncoder(names), None, None)
    if not pieces:
        raise DataFileError(f"{name}: the file has no rows; at least one was expected.")
    target = TARGET if TARGET in names else None
    dataset = Dataset(tuple(pieces), 0, "float32", False, name)
    return Data(name, dataset, table.schema, target, True, dtype=dtype, said=tuple(said))


def _npz(path: Path) -> Data:
    table, test, dtype, notes = npz_tables(path)
    data = _of_table(table, str(path), dtype, notes)
    return data if test is None else replace(data, test=_of_table(test, str(path), dtype))


def _pipe(options: EncodingOptions, columns: Any, target: str | None) -> Data:
    """Standard input, to its end, as a CSV file in a temporary folder."""
    if sys.stdin is None:
        raise DataFileError("standard input: is closed; pipe a CSV file into the command: cat data.csv | parsgd ... -")
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
        raise DataFileError(f"{path}: there is no such file.{hint} Built-in data sets are {', '.join(BUILT_IN)}.")
    if not readable(path):
        raise DataFileError(f"{path}: the name does not end in a format that can be read. These can: {_KINDS}.")


def readable(path: Path) -> bool:
    """Whether the name of a file ends in a format that can be read."""
    address = Address(str(path))
    return address.format in _READABLE and not (address.packed and address.format in (".parquet", ".pq", ".npz"))


def _why_streamed(names: Sequence[str], asked: bool | None) -> str | None:
    """Why the data are streamed, or None if they are held in memory; ``asked`` is ``--stream``, if it was given."""
    if PIPE in names:
        if asked or len(names) > 1:
            raise UsageError("-: what comes through a pipe is read to its end; leave out --stream and other files.")
        return None
    path = Path(names[0])
    several, array = len(names) > 1, names[0] in BUILT_IN or path.suffix.lower() == ".npz"
    if asked is False:
        if several:
            raise UsageError("--no-stream: one file at a time is read into memory; several are streamed.")
        return None
    if several:
        return f"{len(names)} files"
    if path.is_dir():
        return "a folder"
    if is_address(names[0]):
        return "an address"
    if asked:
        if array:
            raise UsageError(f"--stream: {names[0]} cannot be streamed; Parquet, CSV and svmlight files can.")
        return "as asked"
    size = path.stat().st_size if path.is_file() and not array else 0
    likely = size * (_UNPACKED if path.suffix.lower() in _PACKED else 1)
    return f"{likely / 1e9:.1f} GB" if likely > LARGE_BYTES else None


def as_targets(found: np.ndarray, task: str, name: str) -> tuple[np.ndarray, list[str]]:
    """Targets as a task takes them, and remarks; refuses numbers that are no classes."""
    if task == "numbers":
        return found.astype(np.float64), []
    if task == "outliers":
        return found.astype(np.int64), []
    if found.dtype.kind not in "iuf":
        return found, []
    classes = np.unique(found)
    whole = bool(np.all(classes == np.floor(classes)))
    if not whole or len(classes) > _MOST_NUMBER_CLASSES:
        broken = classes[classes != np.floor(classes)]
        seen = f"{len(classes):,} different numbers" if whole else f"numbers such as {broken[0]}"
        raise DataFileError(f"{name}: classes were expected, and the target holds {seen}. Take {_REGRESSORS}.")
    said = []
    if len(classes) > _MANY_NUMBER_CLASSES:
        said = [f"{len(classes):,} different numbers were taken for classes; for numbers: {_REGRESSORS}"]
    return found.astype(np.int64) if np.abs(classes).max(initial=0) < 2**53 else found, said
