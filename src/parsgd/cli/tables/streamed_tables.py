"""Data that the command line reads while it trains: which, why, and how their columns are encoded.

Columns are taken as they are for files in memory (:mod:`parsgd.cli.tables.encoding`), but what is learned of them is
learned from a sample of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.tables import encoding as encodings
from parsgd.cli.tables.file_readers import BUILT_IN, PIPE, Data, reader
from parsgd.cli.tables.table_columns import BadCellError
from parsgd.data.columns.column_stats import batches
from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.dataset import Dataset
from parsgd.data.formats.paths import is_address
from parsgd.data.open_dataset import open_dataset
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError

# Larger files are not read into memory: with pandas' table and the encoded rows they would take several times that.
LARGE_BYTES = 1 << 30
_PACKED = (".gz", ".bz2", ".xz")
# A packed text is about so many times as large.
_UNPACKED = 5
# Nothing more of the data than this many rows is learned from.
_LEARNED_ROWS = 100_000
_SVMLIGHT = (".svm", ".svmlight", ".libsvm")


def why(names: Sequence[str], asked: bool | None) -> str | None:
    """Why the data are streamed, or None if they are read into memory; ``asked`` is ``--stream``, if it was given."""
    if PIPE in names:
        if asked or len(names) > 1:
            raise UsageError("-: what comes through a pipe is read into memory; leave out --stream and other files.")
        return None
    path = Path(names[0])
    several, folder, remote = len(names) > 1, path.is_dir(), is_address(names[0])
    if asked is False:
        if several:
            raise UsageError("--no-stream: one file at a time is read into memory; several are streamed.")
        return None
    if several:
        return f"{len(names)} files"
    if folder:
        return "a folder"
    if remote:
        return "an address"
    if asked:
        if names[0] in BUILT_IN or path.suffix == ".npz":
            raise UsageError(f"--stream: {names[0]} cannot be streamed; Parquet, CSV and svmlight files can.")
        return "as asked"
    size = path.stat().st_size if path.is_file() and path.suffix != ".npz" and reader(path) else 0
    likely = size * (_UNPACKED if path.suffix.lower() in _PACKED else 1)
    return f"{likely / 1e9:.1f} GB" if likely > LARGE_BYTES else None


@dataclass(frozen=True)
class TableEncoder:
    """The command line's encoding as an encoder of Arrow batches."""

    encoding: encodings.TableEncoding
    name: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.encoding.columns)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.encoding.as_text)

    @property
    def n_features(self) -> int:
        return self.encoding.width

    @property
    def sparse(self) -> bool:
        return self.encoding.wide

    @property
    def dtype(self) -> str:
        return "float32" if self.encoding.single or self.encoding.wide else "float64"

    def encode(self, batch: Any) -> Any:
        """``(n_rows, n_features)``."""
        try:
            return self.encoding.apply(Data(self.name, batch.to_pandas()))
        except BadCellError as error:
            raise BadRow(error.row, error.what) from error


@dataclass
class EncodingLearner:
    """Learns the encoding of a table from a sample of its rows; ``encoding`` and ``said`` are there afterwards."""

    choices: encodings.EncodingOptions
    name: str
    encoding: Any = None
    said: list[str] = field(default_factory=list)

    @property
    def texts(self) -> tuple[str, ...]:
        return self.choices.categorical

    def learn(self, columns: tuple[str, ...], pieces: Sequence[Any]) -> TableEncoder:
        import pyarrow as pa

        asked = [name for name in (*self.choices.categorical, *self.choices.drop) if name not in columns]
        if asked:
            hint = encodings.did_you_mean(asked[0], columns)
            raise DataFileError(f"{self.name}: has no column {asked[0]!r}.{hint}")
        sample = [batch for _, batch in batches(pieces, PassThroughEncoder(columns, self.texts), sample=True)]
        if not sample:
            raise DataFileError(f"{self.name}: has no rows; at least one was expected.")
        each = -(-_LEARNED_ROWS // len(sample))
        frame = pa.Table.from_batches([batch.slice(0, each) for batch in sample]).to_pandas()
        self.encoding, said = encodings.learn(Data(self.name, frame), self.choices)
        total = sum(piece.n_rows for piece in pieces)
        seen = "all" if len(frame) == total else f"a sample of {len(frame):,}"
        self.said = [f"columns as {seen} of {total:,} rows have them:", *said]
        return TableEncoder(self.encoding, self.name)


def opened(
    names: Sequence[str], target: str | None, choices: encodings.EncodingOptions
) -> tuple[Dataset, Any, list[str]]:
    """``(dataset, encoding, what there is to say)`` of data to train on."""
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    if is_svmlight(names[0]):
        if target is not None:
            raise DataFileError(f"{name}: brings its own target; leave out --target {target}.")
        if choices.categorical or choices.drop or choices.standardize:
            asked = "--categorical, --drop and --standardize"
            raise DataFileError(f"{name}: svmlight columns are streamed as they are; leave out {asked}.")
        dataset = open_dataset(_data(names))
        first = dataset.pieces[0].first
        said = [f"{dataset.n_features:,} sparse columns, counted from {first}; left as they are"]
        return dataset, encodings.SparseEncoding(dataset.n_features, first), said
    learner = EncodingLearner(choices, name)
    dataset = open_dataset(_data(names), target=target, columns=learner)
    return dataset, learner.encoding, learner.said


def reopened(names: Sequence[str], target: str | None, estimator: Any, encoding: Any) -> Dataset:
    """Data to predict, or to score on, encoded as those of the fit."""
    name = names[0]
    columns = getattr(estimator, "columns_", None)
    if columns is not None:
        return open_dataset(_data(names), target=target, columns=columns)
    if isinstance(encoding, encodings.SparseEncoding):
        if encoding.scale is not None:
            raise DataFileError(f"{name}: the model divides sparse columns (--standardize); give it files one by one.")
        return open_dataset(_data(names), n_features=encoding.width, zero_based=encoding.first == 0)
    if isinstance(encoding, encodings.TableEncoding):
        return open_dataset(_data(names), target=target, columns=TableEncoder(encoding, name))
    raise DataFileError(
        f"{name}: the model does not say how columns become features, so these data cannot be streamed; give it files"
        " one by one, with --no-stream."
    )


def targets_of(dataset: Dataset) -> np.ndarray:
    """All targets, whole numbers as such."""
    found = dataset.head_targets(dataset.n_rows)
    whole = found.dtype.kind == "f" and np.all(found == np.floor(found)) and np.abs(found).max(initial=0) < 2**53
    return found.astype(np.int64) if whole else found


def is_svmlight(name: str) -> bool:
    """Whether the file, or the first one in the folder, is of sparse rows."""
    path = Path(name)
    if path.is_dir():
        inside = next((one for one in sorted(path.rglob("*")) if one.is_file()), path)
        return inside != path and is_svmlight(str(inside))
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
    return bool(suffixes) and suffixes[-1] in _SVMLIGHT


def _data(names: Sequence[str]) -> Any:
    return names[0] if len(names) == 1 else list(names)
