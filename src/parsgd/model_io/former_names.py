"""Names in files written by version 0.1 before the renaming, and the current names."""

from __future__ import annotations

from typing import Any

PARTS = {
    "Asynchronous": "AsyncLocalSGD",
    "Delayed": "DelayedSGD",
    "Elastic": "ElasticAveraging",
    "Hashed": "HashedCategories",
    "Local": "LocalSGD",
    "Numbers": "Numeric",
    "Stopping": "StoppingRule",
    "Weighted": "WeightedAverage",
}
# new part name -> old field -> new field
FIELDS = {
    "AsyncLocalSGD": {"period": "sync_every"},
    "ElasticAveraging": {"period": "sync_every"},
    "LocalSGD": {
        "sampling": "partition",
        "period": "sync_every",
        "outer": "outer_optimizer",
        "lengthen_after": "lengthen_after_epochs",
    },
    "Processes": {"silence_s": "heartbeat_timeout_s"},
    "SimuParallel": {"sampling": "partition", "inside": "inner_delay"},
    "Simulated": {"deaths": "failures"},
    "WeightedAverage": {"sampling": "partition", "inside": "inner_delay"},
}
_PARTITIONS = {"split": "shuffled", "stored": "contiguous", "whole": "replicated"}
# new part name -> new field -> old value -> new value
VALUES = {
    "HashedCategories": {"missing": {"own": "indicator"}},
    "LocalSGD": {"partition": _PARTITIONS},
    "OneHot": {"missing": {"own": "indicator"}, "other": {"own": "indicator"}},
    "SimuParallel": {"partition": _PARTITIONS},
    "WeightedAverage": {"partition": _PARTITIONS},
}


def renamed(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Convert the fields of a part to current names and values.

    >>> renamed("LocalSGD", {"period": 0.5, "rule": None})
    {'sync_every': 0.5, 'rule': None}
    """
    names, values = FIELDS.get(name, {}), VALUES.get(name, {})
    found = {names.get(key, key): value for key, value in fields.items()}
    return {
        key: values[key].get(value, value) if key in values and isinstance(value, str) else value
        for key, value in found.items()
    }
