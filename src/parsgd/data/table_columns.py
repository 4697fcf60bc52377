"""Columns of a table: from ``columns=`` to the encoder of its pieces."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from parsgd.data.columns.column_kinds import HashedCategories, Kind, Numeric
from parsgd.data.columns.column_specs import check_names, declared, index_names, listed
from parsgd.data.columns.column_stats import batches, learned
from parsgd.data.columns.encoder import Encoder, PassThroughEncoder, encoder_of
from parsgd.data.columns.formatted_numbers import HEAD_ROWS, notes_on_numbers
from parsgd.data.contracts import ArrowSchema, ArrowTable, BatchEncoder, ColumnLearner, Piece, Reading, reread
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.formats.tables import label_type
from parsgd.data.open_options import OpenOptions
from parsgd.errors import DataFileError, InvalidArgumentError


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table as declared: kinds, an encoder, or an object that learns one."""

    declared: tuple[Kind, ...] | BatchEncoder | ColumnLearner
    schema: ArrowSchema
    request: OpenOptions

    @property
    def first_reading(self) -> Reading:
        """The reading of the pieces before any row is read: all columns, and which of them are texts."""
        columns, target, weight = self.declared, self.request.target, self.request.weight
        if isinstance(columns, BatchEncoder):
            encoder = columns
        elif isinstance(columns, ColumnLearner):
            features = (name for name in self.schema.names if name not in (target, weight))
            encoder = PassThroughEncoder(tuple(features), tuple(columns.texts))
        else:
            texts = tuple(name for kind in columns if not isinstance(kind, Numeric) for name in kind.names)
            encoder = PassThroughEncoder(tuple(dict.fromkeys(name for kind in columns for name in kind.names)), texts)
        return Reading(encoder, target, weight)

    def dataset(
        self, pieces: Sequence[Piece], name: str, notes: Sequence[str] = (), head: ArrowTable | None = None
    ) -> Dataset:
        """Learn what the columns lack, and make a Dataset of pieces with the first reading.

        ``head`` holds the text columns of some rows; None: they are read from the first piece.
        """
        request = self.request
        encoder = self._learned(pieces)
        pieces = [reread(piece, encoder=encoder) for piece in pieces]
        return Dataset(
            tuple(pieces),
            encoder.n_features,
            encoder.dtype,
            encoder.sparse,
            name,
            request.target is not None,
            request.weight is not None,
            encoder if isinstance(encoder, Encoder) else None,
            request.shuffle_buffer_rows,
            notes=(*notes, *self._left_out(encoder), *self._formatted(encoder, pieces, head)),
        )

    def _learned(self, pieces: Sequence[Piece]) -> BatchEncoder:
        columns, request = self.declared, self.request
        if isinstance(columns, BatchEncoder):
            return columns
        if isinstance(columns, ColumnLearner):
            return columns.learn(self.first_reading.encoder.columns, pieces, self.schema)
        labels = None if request.target is None else label_type(self.schema.field(request.target).type)
        return encoder_of(learned(columns, pieces), request.dtype, request.sparse, labels)

    def _formatted(self, encoder: BatchEncoder, pieces: Sequence[Piece], head: ArrowTable | None) -> list[str]:
        """Return notes on formatted numbers that are encoded as categories, unless the encoder was given."""
        if not isinstance(encoder, Encoder) or encoder is self.declared:
            return []
        hashed = tuple(name for kind in encoder.kinds if isinstance(kind, HashedCategories) for name in kind.names)
        if hashed and head is None:
            # rows that cannot be read are reported by the fit
            with contextlib.suppress(DataFileError):
                for _, batch in batches(pieces[:1], PassThroughEncoder(hashed, hashed), sample=False):
                    head = batch.slice(0, HEAD_ROWS)
                    break
        return notes_on_numbers(encoder.kinds, head)

    def _left_out(self, encoder: BatchEncoder) -> list[str]:
        """Return a note on pandas index columns and nameless columns."""
        used = {*encoder.columns, self.request.target, self.request.weight}
        index = [name for name in index_names(self.schema) if name not in used]
        return [f"no feature, since it is an index or has no name: {listed(index, 5)}"] if index else []


def columns_of_table(schema: ArrowSchema, request: OpenOptions, where: str) -> TableColumns:
    """Resolve ``columns=``, and check the names of targets and weights."""
    columns, apart = request.columns, (request.target, request.weight)
    for argument, name in zip(("target", "weight"), apart, strict=True):
        if name is not None and not isinstance(name, str):
            raise InvalidArgumentError(
                f"open_dataset({argument}=...) of a table is the name of a column. Got {name!r}."
            )
    check_names(schema, apart, where)
    if isinstance(columns, SvmlightColumns):
        raise DataFileError(f"{where}: the model was fitted to svmlight rows, whose columns have no names.")
    if isinstance(columns, BatchEncoder):
        check_names(schema, columns.columns, where)
    elif not isinstance(columns, ColumnLearner):
        columns = declared(columns, schema, apart, where)
    return TableColumns(columns, schema, request)
