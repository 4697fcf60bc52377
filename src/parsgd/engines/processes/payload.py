"""What a crew of processes is sent once: work and shards, packed so that any process can be given any of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parsgd.core import Shard, WorkFn
from parsgd.engines.processes.shared_memory import PickledObject, SharedPickler
from parsgd.errors import IncompatiblePartsError

# Into a thing that cannot be pickled one looks no deeper than that.
_DEEPEST = 6


class FitPayload:
    """The work and each worker's shard; ``rows`` has the sizes of the shards.

    Raises IncompatiblePartsError if any of it cannot be pickled.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard]):
        self.numbers = itertools.count()
        self.common, self.dealt = SharedPickler(self.numbers), SharedPickler(self.numbers)
        try:
            self.work = _pack(self.common, work, _parts_of(work))
            self.set_shards(shards)
        except BaseException:
            self.close()
            raise

    def set_shards(self, shards: Sequence[Shard]) -> list[int]:
        """Pack other shards; the numbers of the parcels that are not needed any more."""
        packer = SharedPickler(self.numbers)
        old, self.dealt = self.dealt, packer
        numbers = list(old.parcels)
        old.close()
        self.rows = [shard.n_rows for shard in shards]
        self.shards = [_pack(packer, shard, {"the source of rows": shard}) for shard in shards]
        for shard in shards:
            shard.close()  # they are opened elsewhere
        return numbers

    def pack_task(self, task: Any, elsewhere: Callable[[np.ndarray], tuple | None]) -> PickledObject:
        """A task with all that it needs: a rule of stopping may look at rows that were kept apart for it."""
        rule = task.budget.stopping
        return _pack(self.common, task, {"the rule of stopping": rule}, elsewhere, rule is not None)

    def file(self, number: int) -> int:
        """The open file of a parcel."""
        return (self.common if number in self.common.parcels else self.dealt).parcels[number]

    def close(self) -> None:
        """Let go of the files."""
        self.common.close()
        self.dealt.close()


def _parts_of(work: Any) -> dict[str, Any]:
    """The loop sends ``partial(algorithm.run, model)``."""
    if isinstance(work, partial) and work.args:
        return {"the model": work.args[0], "the algorithm": getattr(work.func, "__self__", work.func)}
    return {"the work": work}


def _pack(
    packer: SharedPickler, value: Any, parts: Mapping[str, Any], elsewhere: Any = None, by_value: bool = True
) -> PickledObject:  # fmt: skip
    try:
        return packer.pack(value, elsewhere, by_value)
    except (MemoryError, OSError):
        raise  # no room, or no more files; no fault of the value
    except Exception as error:
        name, found, why = _culprit(parts, error)
        raise IncompatiblePartsError(
            f"engine='processes' sends {name} to other processes, and {found!r} cannot be pickled: {why}. Let it hold"
            " what can be (numbers, arrays, classes, functions), or take engine='threads'."
        ) from error


def _culprit(parts: Mapping[str, Any], error: Exception) -> tuple[str, Any, Exception]:
    """The innermost thing that cannot be pickled, where it is, and why."""
    name, found = next(iter(parts.items()))
    for _ in range(_DEEPEST):
        for part, value in parts.items():
            why = _trouble(value)
            if why is not None:
                name, found, error = part, value, why
                break
        else:
            break
        parts = {f"{name}.{field}": value for field, value in getattr(found, "__dict__", {}).items()}
    return name, found, error


def _trouble(value: Any) -> Exception | None:
    packer = SharedPickler(itertools.count())
    try:
        packer.pack(value)
    except Exception as error:
        return error
    finally:
        packer.close()
    return None
