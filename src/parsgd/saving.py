"""Model files: a fitted estimator as plain numbers and JSON in a safetensors file.

Opening one never runs code: classes come from a fixed list, everything else is numbers, texts and names.  The header's
metadata has one entry, ``parsgd``: a JSON object with the format's number, the version that wrote it, the estimator's
class and parameters, and a SHA-256 digest over all of that and all tensors.  The tensor ``document`` is the UTF-8 text
of a second JSON object with the fitted attributes and the notes; the other tensors are arrays that it refers to, as
:mod:`parsgd.packing` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd.errors import MissingDependency, ModelFileError
from parsgd.estimators.fitted import FITTED, is_fitted, problem
from parsgd.history import History
from parsgd.packing import DTYPES, is_part, pack, unpack

FORMAT = 1
ESTIMATORS = tuple(FITTED)
_SAVE_AGAIN = "Copy the file again, or save the model again."


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a model file holds: the estimator, the notes saved with it, and the version of parsgd that wrote it."""

    estimator: Any
    notes: dict[str, Any]
    version: str


def save(estimator: Any, path: str | os.PathLike, **notes: Any) -> None:
    """Write a fitted estimator to ``path``, whole or not at all.

    ``notes`` may be whatever consists of None, numbers, texts, lists, dictionaries and numpy arrays.

    Raises
    ------
    ModelFileError
        If the estimator is not one of parsgd's, is not fitted, or holds what a file of numbers cannot: a user's loss.

    Examples
    --------
    >>> import tempfile
    >>> from parsgd import SGDRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SGDRegressor(max_iter=5, tol=None).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/diabetes.parsgd", data="diabetes")
    ...     again = load(f"{folder}/diabetes.parsgd")
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    name = type(estimator).__name__
    if name not in ESTIMATORS or type(estimator) is not getattr(parsgd, name):
        raise ModelFileError(f"A model file holds a parsgd {', '.join(ESTIMATORS)}; got {type(estimator)!r}.")
    if not is_fitted(estimator):
        raise ModelFileError(f"This {name} is not fitted: call fit before save.")
    arrays: dict[str, np.ndarray] = {}
    head = {
        "format": FORMAT,
        "version": parsgd.__version__,
        "class": name,
        "params": pack(estimator.get_params(deep=False), "", {}),
    }
    document = {"fitted": pack(_fitted(estimator), "", arrays), "notes": pack(notes, "notes", arrays)}
    arrays["document"] = np.frombuffer(json.dumps(document, sort_keys=True).encode(), dtype=np.uint8)
    content = _serialize(head, arrays)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | os.PathLike) -> Any:
    """The estimator in the model file at ``path``, ready to predict or to go on with ``partial_fit``.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, no model file, or of a format that this version does not know.
    """
    return open_file(path).estimator


def open_file(path: str | os.PathLike) -> Saved:
    """The estimator in the model file at ``path``, with the notes saved beside it."""
    try:
        return _read(Path(path).read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}. Check the name.") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: is damaged: it is nested beyond reason. {_SAVE_AGAIN}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


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


def _fitted(estimator: Any) -> dict[str, Any]:
    names = FITTED[type(estimator).__name__]
    fitted = {name: vars(estimator)[name] for name in names if name in vars(estimator)}
    if hasattr(fitted.get("coef_"), "toarray"):
        fitted |= {"coef_": estimator.coef_.toarray(), "sparsified": True}
    choice = fitted.get("algorithm_")
    if choice is not None and not is_part(choice.algorithm):
        # of an algorithm from elsewhere, its name and why it ran are kept
        fitted["algorithm_"] = dataclasses.replace(choice, algorithm=None)
    return fitted


def _digest(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the head, without its own ``sha256``, and over every array's name, type, shape and bytes."""
    plain = {key: value for key, value in head.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _serialize(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    _safetensors()
    from safetensors.numpy import save as serialize

    text = json.dumps({**head, "sha256": _digest(head, arrays)}, sort_keys=True)
    return serialize(arrays, metadata={"parsgd": text})


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        raise MissingDependency("Model files need safetensors: pip install 'parsgd[cli]'") from error


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(content: bytes) -> Saved:
    head, arrays = _take_apart(content)
    if not isinstance(head, dict) or not isinstance(head.get("format"), int):
        raise _damaged("its header does not say which format it has")
    if head["format"] != FORMAT:
        raise ModelFileError(
            f"has format {head['format']}, written by parsgd {head.get('version')}; this parsgd, {parsgd.__version__},"
            f" reads format {FORMAT}. Update it: pip install --upgrade parsgd"
        )
    if head.get("sha256") != _digest(head, arrays):
        raise _damaged("its content does not match its checksum")
    if head.get("class") not in ESTIMATORS or "document" not in arrays:
        raise ModelFileError(f"holds {head.get('class')!r}; parsgd {parsgd.__version__} knows {', '.join(ESTIMATORS)}.")
    document = _json(arrays.pop("document").tobytes())
    if not isinstance(document, dict) or set(document) != {"fitted", "notes"}:
        raise _damaged("its document lacks the fitted attributes or the notes")
    packed = (head.get("params"), document["fitted"], document["notes"])
    params, fitted, notes = parts = [unpack(part, arrays) for part in packed]
    if not all(isinstance(part, dict) for part in parts):
        raise _damaged("its parts are not tables of names and values")
    return Saved(_rebuild(head["class"], params, fitted), notes, str(head.get("version")))


def _take_apart(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """The header's ``parsgd`` entry and the tensors."""
    safetensors = _safetensors()
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ModelFileError(_what_it_is(content, error)) from error
    header = _json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or "parsgd" not in metadata:
        raise ModelFileError("is a safetensors file, but not one that parsgd wrote. Make one with `parsgd fit --out`.")
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in DTYPES:
            raise _damaged(f"tensor {name!r} has the unknown type {tensor['dtype']}")
        try:
            arrays[name] = np.frombuffer(tensor["data"], dtype=DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        except (ValueError, OverflowError) as error:
            raise _damaged(f"tensor {name!r} has the impossible shape {tensor['shape']}") from error
    return _json(metadata["parsgd"]), arrays


def _what_it_is(content: bytes, error: Exception) -> str:
    if content[:1] == b"\x80":
        return "is a pickle; parsgd opens none, because opening one runs code. Save models with parsgd.saving.save."
    if not content:
        return f"is empty. {_SAVE_AGAIN}"
    return f"is not a model file, or a damaged one ({error}). Model files are made by `parsgd fit --out`. {_SAVE_AGAIN}"


def _damaged(what: str) -> ModelFileError:
    return ModelFileError(f"is damaged: {what}. {_SAVE_AGAIN}")


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _damaged(f"a part that should be JSON is not ({error})") from error


def _rebuild(name: str, params: dict[str, Any], fitted: dict[str, Any]) -> Any:
    """The estimator, after checks of everything that predicting relies on."""
    cls = getattr(parsgd, name)
    unknown = (set(params) - set(cls._get_param_names())) | (set(fitted) - set(FITTED[name]))
    if unknown:
        named = ", ".join(sorted(map(repr, unknown)))
        raise ModelFileError(f"gives {name} what it does not have: {named}. Update it: pip install --upgrade parsgd")
    estimator = cls(**params)
    sparsified = fitted.pop("sparsified", False)
    for key, value in fitted.items():
        setattr(estimator, key, value)
    try:
        estimator._check_parameters()
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(f"a parameter cannot be used: {error}") from error
    wrong = problem(estimator)
    if wrong:
        raise _damaged(wrong)
    if hasattr(estimator, "history_"):
        estimator.history_ = History(estimator.history_)
    return estimator.sparsify() if sparsified is True else estimator
