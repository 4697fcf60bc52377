"""Parts of a fit that are sent once per process: work and shards, pickled so that any process can receive any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from parsgd.core import Shard, Task, Work, WorkFn
from parsgd.engines.processes.shared_memory import Place, Placer, SharedPickler, dumps, is_shareable
from parsgd.errors import IncompatiblePartsError

# Maximum depth of the search for the part that cannot be pickled.
_MAX_DEPTH = 6


class FitPayload:
    """The pickled work and shards; ``rows`` has the number of rows of each shard.

    Raises IncompatiblePartsError if a part cannot be pickled.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard]):
        self.work_pickler: SharedPickler = SharedPickler()
        self.shard_pickler: SharedPickler = SharedPickler()
        try:
            parts: dict[str, object] = {"the work": work}
            if isinstance(work, Work):
                parts = {"the model": work.model, "the algorithm": work.algorithm}
            self.work: bytes = _pack(self.work_pickler, work, parts)
            self.set_shards(shards)
        except BaseException:
            self.close()
            raise

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Pickle new shards."""
        self.shard_pickler.close()
        self.rows: list[int] = [shard.n_rows for shard in shards]
        self.shards: list[bytes] = [_pack(self.shard_pickler, shard, {"the source of rows": shard}) for shard in shards]
        for shard in shards:
            shard.close()  # opened in the worker processes

    def pack_task(self, task: Task, place_first: Placer | None) -> bytes:
        """Pickle a task; its stopping rule may contain held-out rows."""
        rule = task.budget.stopping
        return _pack(self.work_pickler, task, {"the stopping rule": rule}, place_first, rule is not None)

    def close(self) -> None:
        """Close the files."""
        self.work_pickler.close()
        self.shard_pickler.close()


def _pack(
    pickler: SharedPickler,
    value: object,
    parts: Mapping[str, object],
    place_first: Placer | None = None,
    by_value: bool = True,
) -> bytes:
    try:
        return pickler.pack(value, place_first, by_value)
    except OSError as error:
        raise OSError(
            error.errno,
            f"engine='processes' could not share {next(iter(parts))} with other processes ({error}). Raise the limit on"
            " memory or file size, or use engine='threads'",
        ) from error
    except Exception as error:
        name, found, why = _unpicklable_part(parts) or (*next(iter(parts.items())), error)
        raise IncompatiblePartsError(
            f"engine='processes' sends {name} to other processes, and {found!r} cannot be pickled: {why}. Use parts"
            " that can (numbers, arrays, classes, functions), or use engine='threads'."
        ) from error


def _unpicklable_part(parts: Mapping[str, object], depth: int = _MAX_DEPTH) -> tuple[str, object, Exception] | None:
    """Return the name of the innermost part that cannot be pickled, the part, and the error; None if all can be."""
    for name, value in parts.items() if depth else ():
        try:
            dumps(value, lambda array: Place.of(array, "") if is_shareable(array) else None)
        except Exception as error:
            fields = cast("dict[str, object]", getattr(value, "__dict__", {}))
            inner = {f"{name}.{field}": part for field, part in fields.items()}
            return _unpicklable_part(inner, depth - 1) or (name, value, error)
    return None
