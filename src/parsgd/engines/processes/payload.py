"""Parts of a fit that are sent once per process: work and shards, pickled so that any process can receive any."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parsgd.core import Shard, WorkFn
from parsgd.engines.processes.shared_memory import PickledObject, SharedPickler
from parsgd.errors import IncompatiblePartsError

# Maximum depth of the search for the part that cannot be pickled.
_MAX_DEPTH = 6


class FitPayload:
    """The pickled work and shards; ``rows`` has the number of rows of each shard.

    Raises IncompatiblePartsError if a part cannot be pickled.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard]):
        self.numbers = itertools.count()
        self.work_arrays, self.shard_arrays = SharedPickler(self.numbers), SharedPickler(self.numbers)
        try:
            self.work = _pack(self.work_arrays, work, _parts_of(work))
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
        self.rows = [shard.n_rows for shard in shards]
        self.shards = [_pack(packer, shard, {"the source of rows": shard}) for shard in shards]
        for shard in shards:
            shard.close()  # opened in the worker processes
        return numbers

    def pack_task(self, task: Any, place_first: Callable[[np.ndarray], tuple | None]) -> PickledObject:
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


def _parts_of(work: Any) -> dict[str, Any]:
    """Return the named parts of the work, for error messages.  The loop sends ``partial(algorithm.run, model)``."""
    if isinstance(work, partial) and work.args:
        return {"the model": work.args[0], "the algorithm": getattr(work.func, "__self__", work.func)}
    return {"the work": work}


def _pack(
    packer: SharedPickler, value: Any, parts: Mapping[str, Any], place_first: Any = None, by_value: bool = True
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


def _unpicklable_part(parts: Mapping[str, Any], error: Exception) -> tuple[str, Any, Exception]:
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
        parts = {f"{name}.{field}": value for field, value in getattr(found, "__dict__", {}).items()}
    return name, found, error


def _pickling_error(value: Any) -> Exception | None:
    packer = SharedPickler(itertools.count())
    try:
        packer.pack(value)
    except Exception as error:
        return error
    finally:
        packer.close()
    return None
