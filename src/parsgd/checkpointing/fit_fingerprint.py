"""What makes a fit the fit that it is: its parameters, its workers, its data and its model, described in words.

Two fits that are described alike go through the same states, so that one can go on where the other was ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parsgd.core import Algorithm, Model, Shard
from parsgd.utils.row_arrays import picked

# So many rows stand for all of them.
_ROWS = 100
_DEEPEST = 6


def identity_of(
    params: Mapping[str, Any], model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """The description, in parts; those that come first say best what differs."""
    return {
        "parameters": {name: described(value) for name, value in sorted(params.items())},
        "work": {"algorithm": described(algorithm), "n_workers": len(shards), "seed": seeds[0]},
        "data": {
            "number of rows": sum(shard.n_rows for shard in shards),
            "values of the first rows": digest_of_rows(shards, seeds),
        },
        "model": {f"{type(model).__name__}.{name}": described(value) for name, value in sorted(_parts(model).items())},
    }


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is different now, in words; of the parts of a description the first one in which anything is.

    >>> differences({"parameters": {"alpha": "0.1"}}, {"parameters": {"alpha": "0.2"}})
    ['alpha is 0.2 and was 0.1']
    """
    for part in now:
        ours, theirs = now[part], before.get(part, {})
        names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        if names:
            return [_difference(name, ours.get(name), theirs.get(name)) for name in names]
    return []


def _difference(name: str, now: Any, before: Any) -> str:
    if name.startswith("values"):
        return f"the {name} are not what they were"
    return f"{name} is {'missing' if now is None else now} and was {'missing' if before is None else before}"


def described(value: Any, depth: int = 0) -> str:
    """A value in words that are the same in another process: without addresses, and with all of its settings.

    >>> described({"alpha": 0.1, "loss": None}), described(np.float64(2.0))
    ("{'alpha': 0.1, 'loss': None}", '2.0')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}:{_hash(value)}"
    if isinstance(value, (type, slice)):
        return getattr(value, "__qualname__", repr(value))
    if depth >= _DEEPEST:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{described(k, depth)}: {described(v, depth + 1)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(described(item, depth + 1) for item in value) + ")"
    settings = ", ".join(f"{name}={described(part, depth + 1)}" for name, part in sorted(_parts(value).items()))
    return f"{type(value).__qualname__}({settings})"


def _parts(value: Any) -> dict[str, Any]:
    """The settings of an object; a generator of random numbers has none that count."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return dict(getattr(value, "__dict__", {}))


def digest_of_rows(shards: Sequence[Shard], seeds: Sequence[int]) -> str:
    """A hash of the rows that the first worker visits first, with targets and weights.

    A shard may have a method ``fingerprint`` that gives a text instead: where its rows lie on another machine, they are
    not to be fetched for this.
    """
    shard, seed = next(((s, n) for s, n in zip(shards, seeds, strict=True) if s.n_rows), (None, 0))
    if shard is None:
        return ""
    if hasattr(shard, "fingerprint"):
        return hashlib.sha256(shard.fingerprint().encode()).hexdigest()[:16]
    try:
        rows, order = next(iter(shard.blocks(seed, 0)))
        few = picked(rows, order[:_ROWS])
        said = [described(part) for part in (*few.x, few.y, few.weight)]
    finally:
        # what it reads ahead is for nobody yet
        shard.close()
    return hashlib.sha256("".join(said).encode()).hexdigest()[:16]


def _hash(array: np.ndarray) -> str:
    if array.dtype.kind == "O":
        return hashlib.sha256(repr(array.tolist()).encode()).hexdigest()[:16]
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
