"""Fingerprint of a fit: a text description of its parameters, workers, data and model.

Fits with equal fingerprints pass through the same states, so one can resume from the other's checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parsgd.core import Algorithm, Model, Shard
from parsgd.utils.row_arrays import picked

# Number of rows whose values represent the data.
_ROWS = 100
_MAX_DEPTH = 6


def fingerprint_of(
    params: Mapping[str, Any], model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Return the fingerprint in sections, the most informative differences first."""
    return {
        "parameters": {name: described(value) for name, value in sorted(params.items())},
        "work": {"algorithm": described(algorithm), "n_workers": len(shards), "seed": seeds[0]},
        "data": {
            "number of rows": sum(shard.n_rows for shard in shards),
            "values of the first rows": hash_rows(shards, seeds),
        },
        "model": {
            f"{type(model).__name__}.{name}": described(value) for name, value in sorted(_settings(model).items())
        },
    }


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the differences as text, from the first section that has any.

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
        return f"the {name} differ"
    return f"{name} is {'missing' if now is None else now} and was {'missing' if before is None else before}"


def described(value: Any, depth: int = 0) -> str:
    """Return a description of a value that is equal in every process: all settings, no addresses.

    >>> described({"alpha": 0.1, "loss": None}), described(np.float64(2.0))
    ("{'alpha': 0.1, 'loss': None}", '2.0')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}:{_hash(_bytes_of(value))}"
    if isinstance(value, (type, slice)):
        return getattr(value, "__qualname__", repr(value))
    if depth >= _MAX_DEPTH:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{described(k, depth)}: {described(v, depth + 1)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(described(item, depth + 1) for item in value) + ")"
    settings = ", ".join(f"{name}={described(part, depth + 1)}" for name, part in sorted(_settings(value).items()))
    return f"{type(value).__qualname__}({settings})"


def _bytes_of(array: np.ndarray) -> bytes:
    return repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()


def _settings(value: Any) -> dict[str, Any]:
    """Return the settings of an object; those of a random number generator are irrelevant."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return dict(getattr(value, "__dict__", {}))


def hash_rows(shards: Sequence[Shard], seeds: Sequence[int]) -> str:
    """Hash the first rows that the first worker visits, with targets and weights.

    If the shard's ``fingerprint`` is not None, that text is hashed instead.  This avoids fetching rows from another
    machine.
    """
    shard, seed = next(((s, n) for s, n in zip(shards, seeds, strict=True) if s.n_rows), (None, 0))
    if shard is None:
        return ""
    text = shard.fingerprint()
    if text is not None:
        return _hash(text.encode())
    try:
        rows, order = next(iter(shard.blocks(seed, 0)))
        first_rows = picked(rows, order[:_ROWS])
        texts = [described(part) for part in (*first_rows.x, first_rows.y, first_rows.weight)]
    finally:
        # discard the rows that it prefetches
        shard.close()
    return _hash("".join(texts).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
