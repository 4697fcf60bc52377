"""Model files: a fitted estimator as plain numbers and JSON in a safetensors file.

Opening one never runs code: classes come from a fixed list, everything else is numbers, texts and names.  The header's
metadata has one entry, ``parsgd``: a JSON document with the format's number, the version that wrote it, the estimator's
class, its parameters, its fitted attributes, notes, and a SHA-256 digest over all of that and all arrays.  Arrays are
the file's tensors; the document refers to them by name.  Values that JSON does not have are written as one-entry
objects, such as ``{"array": "fitted.coef_"}``, ``{"strings": [...]}``, ``{"float": "inf"}``; so a dictionary is written
``{"dict": [[key, value], ...]}``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd import registry
from parsgd.errors import MissingDependency, ModelFileError, Outcome, ParsgdError

FORMAT = 1
ESTIMATORS = ("SGDClassifier", "SGDOneClassSVM", "SGDRegressor")
# What fit leaves on an estimator, in the order in which it is put back.
FITTED = (
    "classes_", "n_features_in_", "feature_names_in_", "coef_", "intercept_", "offset_", "t_", "n_iter_", "algorithm_",
    "outcome_", "history_", "_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept",
    "_expanded_class_weight",
)  # fmt: skip
_OBJECTS = {path.split(":")[1]: path for axis in (registry.ALGORITHMS, registry.ENGINES) for path in axis.values()}
_OBJECTS["Choice"] = "parsgd.estimators.choosing:Choice"
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
# safetensors reads no header above 100 MB; the rest is room for the names and shapes of the arrays.
_LONGEST_DOCUMENT = 90_000_000


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a model file holds: the estimator, the notes that were saved with it, and the version that wrote it."""

    estimator: Any
    notes: dict[str, Any]
    version: str


def save(estimator: Any, path: str | os.PathLike, **notes: Any) -> None:
    """Write a fitted estimator to ``path``, whole or not at all.

    ``notes`` may hold whatever consists of None, numbers, texts, lists, dictionaries and numpy arrays.

    Raises
    ------
    ModelFileError
        If the estimator is not one of parsgd's, is not fitted, or holds what a file of numbers cannot (a user's loss).

    Examples
    --------
    >>> import tempfile
    >>> from parsgd import SGDRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SGDRegressor(random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/diabetes.parsgd", data="diabetes")
    ...     again = load(f"{folder}/diabetes.parsgd")
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    name = type(estimator).__name__
    if name not in ESTIMATORS or type(estimator) is not getattr(parsgd, name, None):
        raise ModelFileError(f"A model file holds one of {', '.join(ESTIMATORS)} from parsgd; got {estimator!r}.")
    if not hasattr(estimator, "coef_"):
        raise ModelFileError(f"This {name} is not fitted: call fit before save.")
    arrays: dict[str, np.ndarray] = {}
    fitted = {key: vars(estimator)[key] for key in FITTED if key in vars(estimator)}
    sparse = hasattr(fitted["coef_"], "toarray")
    if sparse:
        fitted["coef_"] = fitted["coef_"].toarray()
    document = {
        "format": FORMAT,
        "version": parsgd.__version__,
        "class": name,
        "params": _pack(estimator.get_params(deep=False), f"{name}'s parameters", "params", arrays),
        "fitted": _pack(fitted, f"{name}'s attributes", "fitted", arrays),
        "notes": _pack(notes, "notes", "notes", arrays),
        "sparse": sparse,
    }
    content = _serialize(document, arrays)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | os.PathLike) -> Any:
    """The estimator in the model file at ``path``, ready to predict or to go on with ``partial_fit``.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a model file, or written in a format that this version does not know.
    """
    return open_file(path).estimator


def open_file(path: str | os.PathLike) -> Saved:
    """The estimator in the model file at ``path`` together with its notes."""
    try:
        return _read(Path(path).read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}. Check the name.") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: is damaged: it is nested beyond reason. Save the model again.") from error


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[Path]:
    """Hand out a temporary path beside ``path``, and move it there if the block ends well.

    So ``path`` holds the old content or the new, never half of it.  A device or a pipe is written to directly.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# -- writing ---------------------------------------------------------------------------------------------------------


def _pack(value: Any, what: str, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` as JSON, its arrays put into ``arrays`` under names that begin with ``key``."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Outcome):
        return {"outcome": value.name}
    if isinstance(value, np.ndarray):
        return _pack_array(value, what, key, arrays)
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{what}[{i}]", f"{key}.{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        pairs = ((k, _pack(v, f"{what}, {k!r}", f"{key}.{k}", arrays)) for k, v in value.items())
        return {"dict": [[_pack(k, what, key, {}), v] for k, v in pairs]}
    name = type(value).__name__
    if name in _OBJECTS and type(value) is registry.load(_OBJECTS[name]):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"object": name, "fields": _pack(fields, what, key, arrays)}
    raise ModelFileError(
        f"{what}: {value!r} cannot be saved: a model file holds numbers, texts and parsgd's own parts, no code."
        " Give a built-in name or a number instead with set_params; predictions need only coef_ and intercept_."
    )


def _pack_array(array: np.ndarray, what: str, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if array.dtype.kind in "OU":
        dtype = "object" if array.dtype.kind == "O" else "str"
        return {"strings": [_pack(item, what, key, {}) for item in array.tolist()], "dtype": dtype}
    if array.dtype.newbyteorder("<").str.lstrip("|<") not in {code.lstrip("<").replace("?", "b1") for code in _DTYPES.values()}:
        raise ModelFileError(f"{what}: an array of {array.dtype} cannot be saved; convert it to float64, int64 or str.")
    # the order in memory decides how a product is summed, so it is kept for the sake of equal bits
    turned = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    arrays[key] = np.ascontiguousarray(array.T if turned else array).reshape(array.shape[::-1] if turned else array.shape)
    return {"array": key, "order": "F"} if turned else {"array": key}


def _digest(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the document, without its own ``sha256``, and over every array's name, type, shape and bytes."""
    plain = {key: value for key, value in document.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\n{name}\n{array.dtype.name}\n{array.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _serialize(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    text = json.dumps({**document, "sha256": _digest(document, arrays)}, sort_keys=True, allow_nan=False)
    if len(text) > _LONGEST_DOCUMENT:
        raise ModelFileError("There is more text (names, classes, notes) than the header of a model file may hold, 90 MB.")
    _safetensors()
    from safetensors.numpy import save as serialize

    return serialize(arrays, metadata={"parsgd": text})


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        raise MissingDependency("Model files need safetensors: pip install 'parsgd[cli]'") from error


# -- reading ---------------------------------------------------------------------------------------------------------
