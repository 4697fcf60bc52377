"""Picklable state of an estimator for pickle, joblib, cloudpickle, skops and MLflow: builtins and NumPy arrays only.

Some serializers rebuild only permitted types, and some rebuild an object without calling its class. The state therefore
describes the outcome, the history and parsgd's algorithms and engines by names and fields. ``__setstate__`` rebuilds
them. A class of the user, and a cluster with its address, are stored unchanged.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import zlib
from typing import Any

from parsgd import registry
from parsgd.errors import Outcome
from parsgd.model_io.packing import PARTS
from parsgd.training.reporting.history import History

# Types described by their fields. A Checkpoint is not in PARTS, since a model file, which may be untrusted, must not
# name a folder to write to.
_DESCRIBABLE = {**PARTS, "Checkpoint": "parsgd.checkpointing.settings:Checkpoint"}
# Key of the state for the described attributes.
_DESCRIBED = "parsgd_described"


class PlainState:
    """Mixin with a state that every serializer can store, and copies that share nothing with a running fit."""

    def __getstate__(self) -> dict[str, Any]:
        state, described = _attributes(super().__getstate__()), {}
        for name, value in list(state.items()):
            plain = describe(value)
            if plain is not value:
                described[name] = plain
                del state[name]
        return {**state, _DESCRIBED: described} if described else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        described = state.pop(_DESCRIBED, {})
        super().__setstate__({**state, **{name: rebuild(value) for name, value in described.items()}})

    def __copy__(self) -> Any:
        duplicate = type(self).__new__(type(self))
        duplicate.__dict__.update(_attributes(self.__dict__))
        return duplicate

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        duplicate = memo[id(self)] = type(self).__new__(type(self))
        duplicate.__dict__.update(copy.deepcopy(_attributes(self.__dict__), memo))
        return duplicate


def _attributes(state: dict[str, Any] | None) -> dict[str, Any]:
    """Copy the attributes in one operation, because another thread may be fitting."""
    return {} if state is None else state.copy()


def describe(value: Any) -> Any:
    """Replace parsgd's own types in ``value`` by dictionaries of builtins; without any, return the same object.

    >>> describe(Outcome.CONVERGED)
    {'$outcome': 'CONVERGED'}
    """
    kind = type(value)
    if kind is Outcome:
        return {"$outcome": value.name}
    if kind is History:
        return {"$history": _compressed(value)}
    if kind in (list, tuple):
        items = [describe(item) for item in value]
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        return kind(items) if changed else value
    if kind is dict:
        items = {key: describe(item) for key, item in value.items()}
        return items if any(items[key] is not item for key, item in value.items()) else value
    if _is_describable(kind):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return {"$part": kind.__name__, "fields": {name: describe(item) for name, item in fields.items()}}
    return value


def rebuild(value: Any) -> Any:
    """Invert :func:`describe`.

    >>> rebuild({"$outcome": "CONVERGED"}) is Outcome.CONVERGED
    True
    """
    kind = type(value)
    if kind in (list, tuple):
        return kind(rebuild(item) for item in value)
    if kind is not dict:
        return value
    if "$outcome" in value:
        return Outcome[value["$outcome"]]
    if "$history" in value:
        return _decompressed(value["$history"])
    if "$part" in value:
        fields = {name: rebuild(item) for name, item in value["fields"].items()}
        return registry.load(_DESCRIBABLE[value["$part"]])(**fields)
    return {key: rebuild(item) for key, item in value.items()}


def _is_describable(kind: type) -> bool:
    path = _DESCRIBABLE.get(kind.__name__)
    return path is not None and path == f"{kind.__module__}:{kind.__name__}"


def _compressed(history: History) -> Any:
    """Return the entries as compressed JSON, a fraction of their size as objects; as objects if JSON lacks a type."""
    try:
        return zlib.compress(json.dumps(history).encode(), level=3)
    except TypeError:
        return list(history)


def _decompressed(stored: Any) -> History:
    history = History(json.loads(zlib.decompress(stored)) if isinstance(stored, bytes) else stored)
    for worker in (worker for entry in history for worker in entry.get("workers", ())):
        # JSON has no tuples
        if "trace" in worker:
            worker["trace"] = [tuple(end) for end in worker["trace"]]
    return history
