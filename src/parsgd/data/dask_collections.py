"""Dask arrays, dataframes, and lists of delayed blocks or futures: each partition is a piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dask.delayed import Delayed

from parsgd.data.cluster_collections import dataset_of_blocks, dataset_of_tables
from parsgd.data.cluster_pieces import Partition, is_future
from parsgd.data.dataset import Dataset
from parsgd.data.open_options import OpenOptions
from parsgd.errors import InvalidArgumentError


def open_collection(data: Any, request: OpenOptions) -> Dataset:
    """Open a Dask array, a Dask dataframe, or a list of delayed blocks or of futures of blocks as a Dataset.

    With a cluster client, the partitions are computed once on the cluster, and stay in the memory of its workers.
    Without a client, a partition is computed at each read.
    """
    request.refuse("a collection of Dask", "filters", "n_features", "zero_based", "format", "storage_options")
    if isinstance(data, (list, tuple)):
        request.refuse("blocks, which bring their own targets and weights", "target", "weight")
        request.refuse("blocks", "columns", "sparse")
        name = f"{len(data)} blocks on Dask"
        return dataset_of_blocks(_partitions(list(data), name), request, name, _map_partitions)
    # a delayed object has every attribute
    collection = hasattr(data, "to_delayed") and not isinstance(data, Delayed)
    if collection and hasattr(data, "columns") and data.ndim == 2:
        name = "the Dask dataframe"
        return dataset_of_tables(_partitions(data.to_delayed(), name), request, name, _map_partitions)
    if collection and hasattr(data, "chunks"):
        request.refuse("a Dask array", "columns", "sparse")
        name = "the Dask array"
        return dataset_of_blocks(_partitions(_array_blocks(data, request), name), request, name, _map_partitions)
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
