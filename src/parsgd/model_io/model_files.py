"""Model files: a fitted estimator as arrays and JSON in a safetensors file.

Opening a file never runs code: classes come from a fixed list, and all other content is numbers, strings and names. The
header's metadata has one entry, ``parsgd``. It is a JSON object with the format number, the version that wrote the
file, the estimator's class and parameters, and a SHA-256 digest of all of that and all tensors. The tensor ``document``
is the UTF-8 text of a second JSON object with the fitted attributes and the notes. The other tensors are arrays that it
refers to (see :mod:`parsgd.model_io.packing`).
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np

import parsgd
from parsgd import registry
from parsgd.errors import ModelFileError
from parsgd.estimators import kinds
from parsgd.estimators.fitted.attribute_checks import problem
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.model_io import safetensors_file
from parsgd.model_io.packing import CLUSTERS, is_part, pack, unpack
from parsgd.model_io.safetensors_file import Kind, deserialize, located_errors, read_json, serialize, validate_head
from parsgd.training.reporting.history import History
from parsgd.utils.atomic_io import write_atomically, write_parts

FORMAT = 1
KIND = Kind(
    "model file",
    "`parsgd fit --out`",
    "Copy the file again, or save the model again.",
    "cli",
    unopened=" Check the name.",
)


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """Content of a model file: the estimator, the saved notes, and the version of parsgd that wrote it."""

    estimator: Any
    notes: dict[str, Any]
    version: str


def save(estimator: Any, path: str | os.PathLike[str], **notes: Any) -> None:
    """Write a fitted estimator to ``path`` atomically.

    ``notes`` may consist of None, numbers, strings, lists, dictionaries and NumPy arrays.

    Raises
    ------
    ModelFileError
        If the estimator is not one of parsgd's, is not fitted, or has a user's loss, which cannot be stored as data.

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
    if name not in kinds.estimator_names() or type(estimator) is not kinds.estimator_class(name):
        raise ModelFileError(
            f"A model file holds a parsgd {', '.join(kinds.estimator_names())}; got {type(estimator)!r}."
        )
    estimator = snapshot(estimator)
    if not kinds.is_fitted(estimator):
        raise ModelFileError(f"This {name} is not fitted: call fit before save.")
    arrays: dict[str, np.ndarray] = {}
    head = {
        "format": FORMAT,
        "version": parsgd.__version__,
        "class": name,
        "params": pack(_params(estimator), "", {}),
    }
    document = {"fitted": pack(_fitted(estimator), "", arrays), "notes": pack(notes, "notes", arrays)}
    arrays["document"] = np.frombuffer(json.dumps(document, sort_keys=True).encode(), dtype=np.uint8)
    content = serialize(KIND, head, arrays)
    with write_atomically(path) as temporary:
        write_parts(temporary, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Load the estimator in the model file at ``path``, ready to predict or to continue with ``partial_fit``.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a model file, or has an unknown format.
    """
    return open_file(path).estimator


def open_file(path: str | os.PathLike[str]) -> SavedModel:
    """Load the estimator in the model file at ``path``, with its notes and version."""
    with located_errors(KIND, path):
        return _read(safetensors_file.read(KIND, path))


# -- writing ---------------------------------------------------------------------------------------------------------


def _params(estimator: Any) -> dict[str, Any]:
    """Return the parameters, without the checkpoint folder and the address of a cluster."""
    params = estimator.get_params(deep=False)
    engine = params.get("engine")
    path = f"{type(engine).__module__}:{type(engine).__name__}"
    cluster = next((name for name in CLUSTERS.values() if registry.ENGINES[name] == path), None)
    replaced = {"checkpoint": None, "engine": cluster or engine}
    return params | {name: value for name, value in replaced.items() if name in params}


def _fitted(estimator: Any) -> dict[str, Any]:
    fitted = kinds.kind_of(estimator).stored(estimator)
    choice = fitted.get("algorithm_")
    if choice is not None and not is_part(choice.algorithm):
        # of a user's algorithm only the name and the reason are stored
        fitted["algorithm_"] = dataclasses.replace(choice, algorithm=None)
    return fitted


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(content: bytes) -> SavedModel:
    head, arrays = deserialize(KIND, content)
    if isinstance(head, dict) and head.get("class") == "checkpoint":  # its formats are numbered separately
        raise ModelFileError("holds 'checkpoint', not a model. Resume it: checkpoint= of the estimator, or parsgd fit.")
    head = validate_head(KIND, head, arrays, FORMAT, parsgd.__version__)
    if head.get("class") not in kinds.estimator_names() or "document" not in arrays:
        known = ", ".join(kinds.estimator_names())
        raise ModelFileError(f"holds {head.get('class')!r}; parsgd {parsgd.__version__} knows {known}.")
    document = read_json(KIND, arrays.pop("document").tobytes())
    if not isinstance(document, dict) or set(document) != {"fitted", "notes"}:
        raise KIND.damaged("its document lacks the fitted attributes or the notes")
    packed = (head.get("params"), document["fitted"], document["notes"])
    params, fitted, notes = parts = [unpack(part, arrays) for part in packed]
    if not all(isinstance(part, dict) for part in parts):
        raise KIND.damaged("its parts are not JSON objects")
    return SavedModel(_rebuild(head["class"], params, fitted), notes, str(head.get("version")))


def _rebuild(name: str, params: dict[str, Any], fitted: dict[str, Any]) -> Any:
    """Build the estimator and check everything that prediction relies on."""
    cls, kind = kinds.estimator_class(name), kinds.kind_named(name)
    unknown = (set(params) - set(cls._get_param_names())) | (set(fitted) - set(kind.fitted[name]))
    if unknown:
        named = ", ".join(sorted(map(repr, unknown)))
        raise ModelFileError(
            f"has attributes that {name} does not have: {named}. Update it: pip install --upgrade parsgd"
        )
    estimator = cls(**params)
    try:
        kind.check_parameters(estimator)
    except (AttributeError, TypeError, ValueError) as error:
        raise KIND.damaged(f"a parameter is invalid: {error}") from error
    kind.restore(estimator, fitted)
    invalid = problem(estimator)
    if invalid:
        raise KIND.damaged(invalid)
    if hasattr(estimator, "history_"):
        estimator.history_ = History(estimator.history_)
    return kind.finish(estimator, fitted)
