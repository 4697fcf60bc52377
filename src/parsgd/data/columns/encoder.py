"""Encoders: conversion of a table batch to model input rows. Picklable, and stored in model files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from parsgd.data.columns.categories import HashedCategories, Text
from parsgd.data.columns.column_kinds import KINDS, Kind, Numeric
from parsgd.data.contracts import ArrowBatch, Matrix
from parsgd.errors import InvalidArgumentError

# Rows are CSR from this many features on, if a smaller share of them than this is nonzero.
_SPARSE_FEATURES, _SPARSE_DENSITY = 50, 0.3


@dataclass(frozen=True)
class Encoder:
    """Kinds of columns, concatenated in the order of their declaration.

    ``labels`` is the target type of the data that the kinds were learned from: ``text``, ``number`` or ``boolean``.
    ``sparse`` is True for CSR rows: with a :class:`HashedCategories` or :class:`Text` column, or with at least 50
    features of which less than 30 % are nonzero.

    >>> import pyarrow as pa
    >>> from parsgd.data.columns.column_kinds import OneHot
    >>> encoder = encoder_of((Numeric(["age"]), OneHot("city", vocabulary=["Bath", "Lyon"])))
    >>> encoder.encode(pa.record_batch({"age": [30.0], "city": ["Lyon"]})), encoder.feature_names
    (array([[30.,  0.,  1.]], dtype=float32), ['age', 'city=Bath', 'city=Lyon'])
    """

    kinds: tuple[Kind, ...]
    dtype: str = "float32"
    sparse: bool = False
    labels: str | None = None

    def __post_init__(self) -> None:
        kinds = tuple(self.kinds)
        if not kinds or not all(isinstance(kind, KINDS) and kind.names and kind.lacks == "nothing" for kind in kinds):
            raise InvalidArgumentError(
                f"An Encoder takes kinds of columns that have learned what they need. Got {kinds!r}."
            )
        object.__setattr__(self, "kinds", kinds)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns to read."""
        return tuple(dict.fromkeys(name for kind in self.kinds for name in kind.names))

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the columns to read as texts, regardless of their apparent type."""
        return tuple(name for kind in self.kinds if not isinstance(kind, Numeric) for name in kind.names)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the columns to read as numbers."""
        return tuple(name for kind in self.kinds if type(kind) is Numeric for name in kind.names)

    @property
    def n_features(self) -> int:
        return sum(kind.width for kind in self.kinds)

    @property
    def feature_names(self) -> list[str]:
        return [name for kind in self.kinds for name in kind.outputs]

    def encode(self, batch: ArrowBatch, out: np.ndarray | None = None) -> Matrix:
        """Encode an Arrow RecordBatch as ``(n_rows, n_features)``, into ``out`` if present and rows are dense.

        Raises DataFileError.
        """
        if len(self.kinds) == 1 and not self.sparse and isinstance(self.kinds[0], Numeric):
            return self.kinds[0].encode(batch, self.dtype, out)
        blocks = [kind.encode(batch, self.dtype) for kind in self.kinds]
        if self.sparse:
            return sparse.hstack([sparse.csr_matrix(block) for block in blocks], format="csr", dtype=self.dtype)
        out = np.empty((batch.num_rows, self.n_features), dtype=self.dtype) if out is None else out
        at = 0
        for block in blocks:
            out[:, at : at + block.shape[1]] = block.toarray() if sparse.issparse(block) else block
            at += block.shape[1]
        return out


@dataclass(frozen=True)
class PassThroughEncoder:
    """An encoder that returns the batch unchanged; without ``columns``, only targets and weights are read."""

    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    labels: str | None = None

    dtype = "float32"
    n_features = 0
    sparse = False

    def encode(self, batch: ArrowBatch, out: np.ndarray | None = None) -> ArrowBatch:
        return batch


def encoder_of(
    kinds: tuple[Kind, ...], dtype: str = "float32", sparse: bool | None = None, labels: str | None = None
) -> Encoder:
    """Build the encoder of complete kinds; ``sparse=None`` applies the rule of :class:`Encoder`."""
    if sparse is None:
        hashed = any(isinstance(kind, (HashedCategories, Text)) for kind in kinds)
        width = sum(kind.width for kind in kinds)
        filled = sum(kind.width if isinstance(kind, Numeric) else 1 for kind in kinds)
        sparse = hashed or width >= _SPARSE_FEATURES and filled < _SPARSE_DENSITY * width
    return Encoder(kinds, str(np.dtype(dtype)), bool(sparse), labels)
