"""Conversion between Python values and JSON with named arrays, without running code.

Values that JSON lacks are objects with a ``$`` key: ``{"$array": "coef_"}``, ``{"$float": "inf"}``, ``{"$part":
"LocalSGD", "fields": {...}}``. Parts come from a fixed list of parsgd's dataclasses, and records from a fixed list of
its named tuples. An array that occurs several times is stored once and shared after reading.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from parsgd import registry
from parsgd.errors import ModelFileError, Outcome
from parsgd.model_io import former_names

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
PARTS = {path.split(":")[1]: path for axis in (registry.ALGORITHMS, registry.ENGINES) for path in axis.values()}
# These connect to an address, where an untrusted server may listen; a file must not choose it.
CLUSTERS = {"Dask": "dask", "Ray": "ray"}
for _engine in CLUSTERS:
    del PARTS[_engine]
PARTS |= {"Choice": "parsgd.estimators.auto_select:Choice", "StoppingRule": "parsgd.training.stopping:StoppingRule"}
PARTS |= {"Adaptive": "parsgd.algorithms.common.adaptive_outer:Adaptive"}
PARTS |= {
    name: f"parsgd.data.columns.column_kinds:{name}"
    for name in ("Numeric", "Dates", "OneHot", "HashedCategories", "Text")
}
PARTS |= {"Encoder": "parsgd.data.columns.encoder:Encoder"}
PARTS |= {"SvmlightColumns": "parsgd.data.formats.svmlight:SvmlightColumns"}
PARTS |= {name: f"parsgd.algorithms.common.outer_optimizers:{name}" for name in ("Mean", "Momentum")}
# State records of algorithms, named by module, because class names alone are not unique.
RECORDS = (
    "algorithms.local_sgd:_Memory",
    "algorithms.common.adaptive_outer:_Memory",
    "algorithms.async_local_sgd:StalenessCounter",
    "algorithms.async_diloco:DelayedMomentum",
    "algorithms.common.gradient_steps:StepMemory",
    "algorithms.common.measured_noise:MeasuredNoise",
    "algorithms.optimal_time.collected_gradients:Collected",
    "algorithms.optimal_time.ringmaster:RingmasterMemory",
    "algorithms.optimal_time.ringleader:RingleaderMemory",
)


def is_part(value: Any) -> bool:
    """Return True for parsgd's own algorithms, outer optimizers, engines, choices and stopping rules."""
    name = type(value).__name__
    return name in PARTS and type(value) is registry.load(PARTS[name])


def pack(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """Convert ``value`` to JSON; its arrays go to ``arrays``, under names that start with ``key``.

    >>> arrays = {}
    >>> pack({"tol": float("inf"), "coef": np.zeros(2)}, "", arrays)
    {'tol': {'$float': 'inf'}, 'coef': {'$array': 'coef', 'transposed': False}}
    >>> sorted(arrays)
    ['coef']
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Outcome):
        return {"$outcome": value.name}
    if isinstance(value, np.ndarray):
        return _pack_array(value, key, arrays)
    if hasattr(value, "_fields"):
        return _pack_record(value, key, arrays)
    if isinstance(value, (list, tuple)):
        items = [pack(item, f"{key}[{i}]", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        plain = all(isinstance(k, str) and not k.startswith("$") for k in value)
        values = [pack(v, f"{key}.{k}".strip("."), arrays) for k, v in value.items()]
        keys = value if plain else [pack(k, key, {}) for k in value]
        pairs = [list(pair) for pair in zip(keys, values, strict=True)]
        return dict(pairs) if plain else {"$dict": pairs}
    if is_part(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return {"$part": type(value).__name__, "fields": pack(fields, key, arrays)}
    raise _unsupported(key, value)


def _unsupported(key: str, value: Any) -> ModelFileError:
    return ModelFileError(
        f"{key}={value!r} cannot be saved: a model file holds numbers, strings and parsgd's own parts, never code."
        f" If prediction does not need it, replace it with set_params({key}=...) and save again."
    )


def _pack_record(value: Any, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Convert a named tuple from the list; raise for others, which would be read back as plain tuples."""
    kind = type(value)
    name = f"{kind.__module__.removeprefix('parsgd.')}:{kind.__name__}"
    if name not in RECORDS or kind is not registry.load(f"parsgd.{name}"):
        raise _unsupported(key, value)
    return {"$record": name, "fields": pack(value._asdict(), key, arrays)}


def _pack_array(array: np.ndarray, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if array.dtype.kind in "OU":
        items = [pack(item, key, {}) for item in array.tolist()]
        return {"$texts": items, "dtype": "object" if array.dtype.kind == "O" else "str"}
    if array.dtype.name not in DTYPES.values():
        raise ModelFileError(f"{key} is an array of {array.dtype}, which cannot be saved; make it float64 or str.")
    # the memory order affects how a product is summed, and so its last bits
    transposed = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    plain = np.require(array.T if transposed else array, array.dtype.newbyteorder("="), "C")
    stored_name = next((name for name, other in arrays.items() if other is plain), key)
    arrays[stored_name] = plain
    return {"$array": stored_name, "transposed": transposed}


def unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Invert :func:`pack`; raise ModelFileError for content that :func:`pack` cannot have written."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: unpack(item, arrays) for key, item in value.items()}
    try:
        return _UNPACKERS[tag](value[tag], value, arrays)
    except ModelFileError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"is damaged: invalid {tag} ({error}). Save the model again.") from error


def _unpack_array(key: str, value: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays[key].T if value["transposed"] else arrays[key]


def _unpack_texts(items: list, value: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    items = [unpack(item, {}) for item in items]
    if value["dtype"] == "str":
        if not all(isinstance(item, str) for item in items):
            raise ValueError("a string was expected")
        return np.array(items, dtype=str)
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def _unpack_part(name: str, value: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    if name in CLUSTERS:
        raise ModelFileError(
            f"contains the address of a {name} cluster, which parsgd never writes to a file. Do not use files from"
            " untrusted sources; if the file is your own, save the model again."
        )
    name = former_names.PARTS.get(name, name)
    return registry.load(PARTS[name])(**former_names.renamed(name, unpack(value["fields"], arrays)))


def _unpack_record(name: str, value: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    if name not in RECORDS:
        raise ValueError(f"{name!r} is unknown")
    return registry.load(f"parsgd.{name}")(**unpack(value["fields"], arrays))


_UNPACKERS = {
    "$array": _unpack_array,
    "$texts": _unpack_texts,
    "$part": _unpack_part,
    "$record": _unpack_record,
    "$float": lambda text, value, arrays: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text],
    "$outcome": lambda name, value, arrays: Outcome[name],
    "$tuple": lambda items, value, arrays: tuple(unpack(items, arrays)),
    "$dict": lambda pairs, value, arrays: {unpack(k, arrays): unpack(v, arrays) for k, v in pairs},
}
