"""Dask arrays, dataframes, and lists of delayed blocks or futures: each partition is a piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from dask.delayed import Delayed
from scipy import sparse

from parsgd.data.columns.formatted_numbers import HEAD_ROWS
from parsgd.data.columns.numeric import arrow, kind_of_type
from parsgd.data.contracts import ArrowSchema, ArrowTable
from parsgd.data.dask_pieces import DaskBlock, DaskTable, Partition, is_future
from parsgd.data.dataset import Dataset
from parsgd.data.formats.block_iterators import block_of
from parsgd.data.formats.tables import as_arrow
from parsgd.data.open_options import OpenOptions
from parsgd.data.table_columns import columns_of_table
from parsgd.errors import DataFileError, InvalidArgumentError


def open_collection(data: Any, request: OpenOptions) -> Dataset:
    """Open a Dask array, a Dask dataframe, or a list of delayed blocks or of futures of blocks as a Dataset.

    With a cluster client, the partitions are computed once on the cluster, and stay in the memory of its workers.
    Without a client, a partition is computed at each read.
    """
    request.refuse("a collection of Dask", "filters", "n_features", "zero_based", "format", "storage_options")
    if isinstance(data, (list, tuple)):
        request.refuse("blocks, which bring their own targets and weights", "target", "weight")
        request.refuse("blocks", "columns", "sparse")
        return _of_blocks(list(data), request, f"{len(data)} blocks on Dask")
    # a delayed object has every attribute
    collection = hasattr(data, "to_delayed") and not isinstance(data, Delayed)
    if collection and hasattr(data, "columns") and data.ndim == 2:
        return _of_frame(data, request)
    if collection and hasattr(data, "chunks"):
        request.refuse("a Dask array", "columns", "sparse")
        return _of_blocks(_array_blocks(data, request), request, "the Dask array")
    raise InvalidArgumentError(
        "Of Dask, open_dataset takes arrays, dataframes, and lists of delayed blocks (X, y) or of futures of such. Got"
        f" {type(data).__name__} instead."
    )


def _array_blocks(x: Any, request: OpenOptions) -> list[Any]:
    """Make a delayed block of each chunk of rows."""
    import dask

    if x.ndim != 2:
        raise InvalidArgumentError(
            f"X must be a Dask array of shape (n_rows, n_features). Got {x.ndim} dimensions instead."
        )
    if x.dtype.kind not in "biuf":
        raise InvalidArgumentError(
            f"X must be a Dask array of numbers. Got {x.dtype} instead; convert it: X.astype(float)."
        )
    x = x.compute_chunk_sizes() if np.isnan(x.shape[0]) else x
    x = x.rechunk({1: -1}) if x.numblocks[1] > 1 else x
    y, weight = (_chunks_like(x, getattr(request, name), name) for name in ("target", "weight"))
    return [dask.delayed(parts) for parts in zip(x.to_delayed().ravel(), y, weight, strict=True)]


def _chunks_like(x: Any, part: Any, name: str) -> list[Any]:
    """Rechunk targets or weights to the row chunks of ``x``."""
    import dask.array as da

    if part is None:
        return [None] * x.numblocks[0]
    part = part if isinstance(part, da.Array) else da.asarray(np.asarray(part))
    part = part.compute_chunk_sizes() if np.isnan(part.shape).any() else part
    if part.shape != x.shape[:1]:
        raise InvalidArgumentError(
            f"{name} must have {x.shape[0]} values, one for each row; its shape is {part.shape}."
        )
    return list(part.rechunk((x.chunks[0],)).to_delayed().ravel())


def _of_blocks(parts: Sequence[Any], request: OpenOptions, name: str) -> Dataset:
    partitions = _partitions(parts, name)
    forms = _map_partitions(partitions, _form_of_block)
    for partition, form in zip(partitions, forms, strict=True):
        if form[1:] != forms[0][1:]:
            raise DataFileError(
                f"{partition.name}: has {_describe_form(form)}, and the first has {_describe_form(forms[0])}."
            )
    pieces = tuple(
        DaskBlock(partition, form[0], form[1], request.dtype) for partition, form in zip(partitions, forms, strict=True)
    )
    return Dataset.of_rows(pieces, request, name, forms[0][1:])


def _form_of_block(block: Any) -> tuple[int, int, bool, bool, bool]:
    x, y, weight = block_of(block, 0)
    return x.shape[0], x.shape[1], sparse.issparse(x), y is not None, weight is not None


def _describe_form(form: tuple) -> str:
    _, n_features, is_sparse, target, weight = form
    extras = [word for word, there in (("targets", target), ("weights", weight)) if there]
    return f"{n_features} {'CSR' if is_sparse else 'dense'} features with {' and '.join(extras) or 'no targets'}"


def _of_frame(frame: Any, request: OpenOptions) -> Dataset:
    name = "the Dask dataframe"
    partitions = _partitions(frame.to_delayed(), name)
    forms = _map_partitions(partitions, _form_of_table)
    schema = _schema(partitions, forms)
    columns = columns_of_table(schema, request, name)
    pieces = [
        DaskTable(
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


def _partitions(parts: Sequence[Any], name: str) -> list[Partition]:
    """Return the partitions, persisted on the cluster if there is one."""
    names = [f"{name}, partition {number}" for number in range(len(parts))]
    client = _client_of(parts)
    if client is None:
        return [Partition(part, name) for part, name in zip(parts, names, strict=True)]
    from distributed import wait

    futures = [part if is_future(part) else client.compute(part) for part in parts]
    with client.as_current():
        wait(futures)
    where = client.who_has(futures)
    return [
        Partition(future, name, next(iter(where.get(future.key, ())), None))
        for future, name in zip(futures, names, strict=True)
    ]


def _client_of(parts: Sequence[Any]) -> Any:
    """Return the client of the futures, or the active one; None without a cluster."""
    found = next((part.client for part in parts if is_future(part)), None)
    if found is None:
        try:
            from distributed import default_client

            found = default_client()
        except (ImportError, ValueError):
            return None
    if found.asynchronous:
        raise InvalidArgumentError(
            "open_dataset waits for the cluster, and the client is asynchronous. Use a synchronous Client,"
            " Client(address), outside the thread of the event loop: asyncio.to_thread(...)."
        )
    return found


def _map_partitions(partitions: Sequence[Partition], function: Any) -> list[Any]:
    """Apply a function to each partition, on the worker that holds it."""
    if not partitions[0].waits:
        return [function(partition.get()) for partition in partitions]
    client = partitions[0].source.client
    return client.gather([client.submit(function, partition.source, pure=False) for partition in partitions])
