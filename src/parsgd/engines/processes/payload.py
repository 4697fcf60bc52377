"""Parts of a fit that are sent once per process: work and shards, pickled so that any process can receive any."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import cast

from parsgd.core import Shard, Task, Work, WorkFn
from parsgd.engines.processes.shared_memory import PickledObject, Placer, SharedPickler
from parsgd.errors import IncompatiblePartsError

# Maximum depth of the search for the part that cannot be pickled.
_MAX_DEPTH = 6


class FitPayload:
    """The pickled work and shards; ``rows`` has the number of rows of each shard.

    Raises IncompatiblePartsError if a part cannot be pickled.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard]):
        self.numbers: itertools.count[int] = itertools.count()
        self.work_arrays: SharedPickler = SharedPickler(self.numbers)
        self.shard_arrays: SharedPickler = SharedPickler(self.numbers)
        try:
            parts: dict[str, object] = {"the work": work}
            if isinstance(work, Work):
                parts = {"the model": work.model, "the algorithm": work.algorithm}
            self.work: PickledObject = _pack(self.work_arrays, work, parts)
            self.set_shards(shards)
        except BaseException:
            self.close()
            raise

    def set_shards(self, shards: Sequence[Shard]) -> list[int]:
        """Pickle new shards; return the numbers of the array files that are no longer needed."""
        packer = SharedPickler(self.numbers)
        old, self.shard_arrays = self.shard_arrays, packer
        numbers = list(old.array_files)
        old.close()
        self.rows: list[int] = [shard.n_rows for shard in shards]
        self.shards: list[PickledObject] = [_pack(packer, shard, {"the source of rows": shard}) for shard in shards]
        for shard in shards:
            shard.close()  # opened in the worker processes
        return numbers

    def pack_task(self, task: Task, place_first: Placer | None = None) -> PickledObject:
        """Pickle a task; its stopping rule may contain held-out rows."""
        rule = task.budget.stopping
        return _pack(self.work_arrays, task, {"the stopping rule": rule}, place_first, rule is not None)

    def file(self, number: int) -> int:
        """Return the open file with this number."""
        return (self.work_arrays if number in self.work_arrays.array_files else self.shard_arrays).array_files[number]

    def close(self) -> None:
        """Close the files."""
        self.work_arrays.close()
        self.shard_arrays.close()


def _pack(
    packer: SharedPickler,
    value: object,
    parts: Mapping[str, object],
    place_first: Placer | None = None,
    by_value: bool = True,
) -> PickledObject:
    try:
        return packer.pack(value, place_first, by_value)
    except (MemoryError, OSError):
        raise  # out of memory or files; the value is not the cause
    except Exception as error:
        name, found, why = _unpicklable_part(parts, error)
        raise IncompatiblePartsError(
            f"engine='processes' sends {name} to other processes, and {found!r} cannot be pickled: {why}. Use parts"
            " that can (numbers, arrays, classes, functions), or use engine='threads'."
        ) from error


def _unpicklable_part(parts: Mapping[str, object], error: Exception) -> tuple[str, object, Exception]:
    """Return the name of the innermost part that cannot be pickled, the part, and the error."""
    name, found = next(iter(parts.items()))
    for _ in range(_MAX_DEPTH):
        for part, value in parts.items():
            why = _pickling_error(value)
            if why is not None:
                name, found, error = part, value, why
                break
        else:
            break
        fields = cast("dict[str, object]", getattr(found, "__dict__", {}))
        parts = {f"{name}.{field}": value for field, value in fields.items()}
    return name, found, error


def _pickling_error(value: object) -> Exception | None:
    packer = SharedPickler(itertools.count())
    try:
        packer.pack(value)
    except Exception as error:
        return error
    finally:
        packer.close()
    return None
