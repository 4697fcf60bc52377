"""Pieces that are partitions of a collection of Dask or Ray.

On a cluster, a future of Dask or an object reference of Ray refers to a partition in the memory of a machine. With the
engine of the same name, the cluster transfers it to the worker that trains on it, unless it is already there. Without a
cluster of Dask, the partition is a delayed object, computed at each read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import ArrowType, BasePiece, Chunk, Reading
from parsgd.data.formats.block_iterators import block_of
from parsgd.data.formats.npy_arrays import as_rows, check_finite
from parsgd.data.formats.tables import TablePiece, as_arrow
from parsgd.errors import DataFileError


@dataclass(frozen=True)
class Partition:
    """One partition: ``value`` if set, otherwise the result of ``source``, a future or a delayed object.

    ``home`` is the address of the Dask worker or the number of the Ray node that holds it, if there is one. Futures are
    not pickled: on another machine, the value is set before the partition is read.
    """

    source: Any
    name: str
    home: str | None = None
    value: Any = None

    def get(self) -> Any:
        """Return the rows as the cluster holds them."""
        if self.value is not None:
            return self.value
        if self.source is None:
            raise DataFileError(
                f"{self.name}: is on a cluster, to which this process has no connection. Train with engine='dask' or"
                " 'ray', where it is, or with 'serial' or 'threads' in the process that opened the data."
            )
        self.check()
        match _package(self.source):
            case "distributed":
                return self.source.result()
            case "ray":
                return self._fetched_from_ray()
            case _:
                return self.source.compute(scheduler="synchronous")

    def _fetched_from_ray(self) -> Any:
        import ray

        try:
            return ray.get(self.source)
        except ray.exceptions.ObjectLostError as error:
            raise self._lost("the Ray cluster", "a node") from error

    def _lost(self, cluster: str, holder: str) -> DataFileError:
        return DataFileError(
            f"{self.name}: is no longer in the memory of {cluster}: since the data were opened, {holder} was lost, or"
            " the cluster restarted or closed. Open the data again: open_dataset(...)."
        )

    def check(self) -> None:
        """Raise DataFileError if the partition is no longer on the cluster.

        Dask computes a lost result again if it knows how, and cancels it otherwise.
        """
        if _package(self.source) == "distributed" and self.source.status == "cancelled":
            raise self._lost("the Dask cluster", "a worker")

    @property
    def waits(self) -> bool:
        """True if the partition is a future, or was one before pickling."""
        return self.value is None and (self.source is None or is_future(self.source))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "source": None if is_future(self.source) else self.source}


def is_future(thing: Any) -> bool:
    """Return True for a future of Dask or an object reference of Ray, False for a delayed object.

    >>> is_future(None)
    False
    """
    return _package(thing) in ("distributed", "ray")


def _package(thing: Any) -> str:
    return type(thing).__module__.partition(".")[0]


class OnCluster(BasePiece):
    """Base class of pieces of collections; ``partition`` holds their rows."""

    partition: Partition

    @property
    def name(self) -> str:
        return self.partition.name

    @property
    def home(self) -> str | None:
        return self.partition.home

    def futures(self) -> list[Any]:
        """Return the futures to resolve before a read on another machine."""
        if not self.partition.waits:
            return []
        self.partition.check()
        return [self.partition.source]

    def filled(self, values: Iterator[Any]) -> Any:
        """Replace its future by the next of ``values``."""
        if not self.partition.waits:
            return self
        this: Any = self
        return replace(this, partition=replace(self.partition, value=next(values), source=None))


@dataclass(frozen=True)
class ClusterBlock(OnCluster):
    """A block ``(X, y)`` or ``(X, y, weight)``."""

    partition: Partition
    n_rows: int
    n_features: int
    dtype: str

    def chunks(self) -> Iterator[Chunk]:
        x, y, weight = block_of(self.partition.get(), 0)
        if x.shape != (self.n_rows, self.n_features):
            raise DataFileError(f"{self.name}: has shape {x.shape} now, and had {(self.n_rows, self.n_features)}.")
        x = as_rows(x, self.dtype)
        check_finite(x, y, weight, self.name, 0)
        yield Chunk(x, y, weight)


@dataclass(frozen=True)
class ClusterTable(OnCluster):
    """A partition of a dataframe; ``nothing`` lists columns without values, with their types in other partitions."""

    partition: Partition
    n_rows: int
    nothing: tuple[tuple[str, ArrowType], ...]
    reading: Reading

    def chunks(self) -> Iterator[Chunk]:
        table = as_arrow(self.partition.get())
        for column, kind in self.nothing:
            empty = arrow().nulls(table.num_rows, kind)
            table = table.set_column(table.schema.get_field_index(column), column, empty)
        yield from TablePiece(table, self.name, 0, self.reading).chunks()
