"""Data sets whose pieces are the partitions of a collection on a cluster, examined where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from scipy import sparse

from parsgd.data.cluster_pieces import ClusterBlock, ClusterTable, Partition
from parsgd.data.columns.formatted_numbers import HEAD_ROWS
from parsgd.data.columns.numeric import arrow, kind_of_type
from parsgd.data.contracts import ArrowSchema, ArrowTable
from parsgd.data.dataset import Dataset
from parsgd.data.formats.block_iterators import block_of
from parsgd.data.formats.tables import as_arrow
from parsgd.data.open_options import OpenOptions
from parsgd.data.table_columns import columns_of_table
from parsgd.errors import DataFileError

# Apply a function to each partition, where it is, and return the results.
Mapper: TypeAlias = Callable[[Sequence[Partition], Callable[[Any], Any]], Sequence[Any]]


def dataset_of_blocks(partitions: Sequence[Partition], request: OpenOptions, name: str, mapper: Mapper) -> Dataset:
    """Make a Dataset of blocks ``(X, y)`` or ``(X, y, weight)``; raise unless all have the same form."""
    forms = mapper(partitions, _form_of_block)
    for partition, form in zip(partitions, forms, strict=True):
        if form[1:] != forms[0][1:]:
            raise DataFileError(
                f"{partition.name}: has {_describe_form(form)}, and the first has {_describe_form(forms[0])}."
            )
    pieces = tuple(
        ClusterBlock(partition, form[0], form[1], request.dtype)
        for partition, form in zip(partitions, forms, strict=True)
    )
    return Dataset.of_rows(pieces, request, name, forms[0][1:])


def _form_of_block(block: Any) -> tuple[int, int, bool, bool, bool]:
    x, y, weight = block_of(block, 0)
    return x.shape[0], x.shape[1], sparse.issparse(x), y is not None, weight is not None


def _describe_form(form: tuple) -> str:
    _, n_features, is_sparse, target, weight = form
    extras = [word for word, there in (("targets", target), ("weights", weight)) if there]
    return f"{n_features} {'CSR' if is_sparse else 'dense'} features with {' and '.join(extras) or 'no targets'}"


def dataset_of_tables(partitions: Sequence[Partition], request: OpenOptions, name: str, mapper: Mapper) -> Dataset:
    """Make a Dataset of tables of pandas or Arrow with the same columns."""
    forms = mapper(partitions, _form_of_table)
    schema = _schema(partitions, forms)
    columns = columns_of_table(schema, request, name)
    pieces = [
        ClusterTable(
            partition, n_rows, tuple((column, schema.field(column).type) for column in blank), columns.first_reading
        )
        for partition, (n_rows, _, blank, _) in zip(partitions, forms, strict=True)
    ]
    head = next((head for n_rows, _, _, head in forms if n_rows), forms[0][3])
    return columns.dataset(pieces, name, head=head)


# The number of rows of a partition, its schema, the columns without values, which have no reliable type, and the texts
# of the first rows.
FormOfTable: TypeAlias = tuple[int, ArrowSchema, list[str], ArrowTable]


def _form_of_table(frame: Any) -> FormOfTable:
    table = as_arrow(frame)
    names = table.schema.names
    blank = [name for name in names if table.column(name).null_count == table.num_rows]
    texts = [name for name in names if name not in blank and kind_of_type(table.schema.field(name).type) == "text"]
    # copied, because a slice would be sent with the whole columns
    rows = arrow().array(range(min(table.num_rows, HEAD_ROWS)))
    return table.num_rows, table.schema, blank, table.select(texts).take(rows)


def _schema(partitions: Sequence[Partition], forms: Sequence[FormOfTable]) -> ArrowSchema:
    """Build the schema: each column with its type in the first partition with values of it."""
    names = forms[0][1].names
    for partition, (_, own, _, _) in zip(partitions, forms, strict=True):
        unlike = sorted(set(own.names) ^ set(names))
        if unlike:
            raise DataFileError(
                f"{partition.name}: column {unlike[0]!r} is not in all partitions. Give all of them the same columns."
            )
    # a partition without rows may lack column types
    first = next((own for n_rows, own, _, _ in forms if n_rows), forms[0][1])
    known = {
        name: next((own.field(name).type for _, own, blank, _ in forms if name not in blank), first.field(name).type)
        for name in names
    }
    return arrow().schema(list(known.items()))
