"""Data sets of Ray Data, and lists of references to blocks: each block is a piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from parsgd.data.cluster_collections import dataset_of_blocks, dataset_of_tables
from parsgd.data.cluster_pieces import Partition, is_future
from parsgd.data.dataset import Dataset
from parsgd.data.open_options import OpenOptions
from parsgd.engines.ray.ray_api import ray
from parsgd.errors import InvalidArgumentError

_ray_data: Any = import_module("ray.data")
_locations: Any = import_module("ray.experimental")


def open_ray_data(data: Any, request: OpenOptions) -> Dataset:
    """Open a Dataset of Ray Data, or a list of references to blocks ``(X, y)`` or ``(X, y, weight)``, as a Dataset.

    Ray computes the blocks once, and they stay in the object stores of its nodes.
    """
    request.refuse("data on Ray", "filters", "n_features", "zero_based", "format", "storage_options")
    if isinstance(data, (list, tuple)) and all(map(is_future, data)):
        name = f"{len(data)} blocks on Ray"
        request.refuse("blocks, which bring their own targets and weights", "target", "weight")
        request.refuse("blocks", "columns", "sparse")
        return dataset_of_blocks(_partitions(data, name), request, name, _map_partitions)
    if isinstance(data, _ray_data.Dataset):
        name = "the Ray dataset"
        return dataset_of_tables(_partitions(data.to_arrow_refs(), name), request, name, _map_partitions)
    raise InvalidArgumentError(
        "Of Ray, open_dataset takes a ray.data.Dataset, and lists of references to blocks (X, y). Got"
        f" {type(data).__name__} instead."
    )


def _partitions(refs: Sequence[Any], name: str) -> list[Partition]:
    """Return the partitions with the nodes that hold them."""
    ray.wait(list(refs), num_returns=len(refs), fetch_local=False)
    found = _locations.get_object_locations(list(refs))
    homes = [next(iter(found.get(ref, {}).get("node_ids", ())), None) for ref in refs]
    names = [f"{name}, block {number}" for number in range(len(refs))]
    return [Partition(ref, block, home) for ref, block, home in zip(refs, names, homes, strict=True)]


def _map_partitions(partitions: Sequence[Partition], function: Callable[[Any], Any]) -> list[Any]:
    """Apply a function to each partition, on the node that holds it; a task without a core waits for no other."""
    remote = ray.remote(num_cpus=0)(function)
    return ray.get([remote.remote(partition.source) for partition in partitions])
