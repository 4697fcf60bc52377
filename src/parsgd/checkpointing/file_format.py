"""File format of checkpoints; reading one executes no code.

The header contains the fingerprint of the fit (:mod:`parsgd.checkpointing.fit_fingerprint`).  The tensor ``document``
is the JSON text of the snapshot and of the estimator's extras.  The other tensors are their arrays.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.core.padded import private_copy
from parsgd.errors import CheckpointError, ModelFileError
from parsgd.model_io import safetensors_file
from parsgd.model_io.packing import pack, unpack
from parsgd.model_io.safetensors_file import Kind, deserialize, located_errors, read_json, serialize, validate_head
from parsgd.training.snapshot import Snapshot

FORMAT = 3
KIND = Kind(
    "checkpoint",
    "a fit with checkpoint=",
    "Delete it; the previous checkpoint may be intact.",
    "files",
    "to restart the fit, name another folder or delete this one; to resume it, use the parsgd that wrote it.",
)
_CLASS = "checkpoint"


def _version() -> str:
    # the package is above this layer, but always imported before this runs
    return sys.modules["parsgd"].__version__


@dataclass(frozen=True)
class CheckpointContent:
    """Content of a checkpoint: fingerprint of the fit, snapshot, and extras of the estimator."""

    identity: dict[str, dict[str, Any]]
    snapshot: Snapshot
    extras: dict[str, Any]


class HistoryEncoder:
    """Encoder of history entries as JSON, which encodes each entry once: long fits have many entries."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def text(self, history: list[dict[str, Any]]) -> str:
        """Return the whole history as JSON; all entries but the last must extend those of the previous call."""
        self.texts = [*self.texts[: max(len(history) - 1, 0)]]
        texts = [*self.texts, *(json.dumps(pack(entry, "history", {})) for entry in history[len(self.texts) :])]
        # the last entry may still change
        self.texts = texts[:-1]
        return f"[{','.join(texts)}]"


def to_parts(content: CheckpointContent, encoder: HistoryEncoder | None = None) -> list[bytes | memoryview]:
    """Return the content of a file as parts to write in order; ``encoder`` caches encoded history entries.

    Raises CheckpointError if an algorithm's memory contains anything but numbers, strings, arrays, lists, tuples and
    dictionaries.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        plain = content.snapshot.plain()
        history = (encoder or HistoryEncoder()).text(plain.pop("history"))
        snapshot, extras = pack(plain, "snapshot", arrays), pack(content.extras, "extras", arrays)
    except ModelFileError as error:
        raise CheckpointError(
            f"Cannot save a checkpoint: {str(error).partition(' cannot be saved')[0]} is not made of numbers, strings,"
            " arrays, lists, tuples and dictionaries. An algorithm's memory must be; otherwise use checkpoint=None."
        ) from error
    document = json.dumps({"snapshot": snapshot, "extras": extras}, sort_keys=True)
    document = f'{{"history": {history}, {document[1:]}'
    arrays["document"] = np.frombuffer(document.encode(), dtype=np.uint8)
    head = {"format": FORMAT, "version": _version(), "class": _CLASS, "identity": content.identity}
    return serialize(KIND, head, arrays)


def from_bytes(content: bytes) -> CheckpointContent:
    """Decode the content of a file, the inverse of :func:`to_parts`.

    Raises ModelFileError if the content is damaged, is not a checkpoint, or has another format.
    """
    head, arrays = deserialize(KIND, content)
    if isinstance(head, dict) and head.get("class", _CLASS) != _CLASS:  # formats of models are numbered separately
        raise ModelFileError(f"holds {head['class']!r}, not a checkpoint.")
    head = validate_head(KIND, head, arrays, FORMAT, _version())
    if head.get("class") != _CLASS or "document" not in arrays or not isinstance(head.get("identity"), dict):
        raise ModelFileError(f"holds {head.get('class')!r}, not a checkpoint.")
    document = read_json(KIND, arrays.pop("document").tobytes())
    # the arrays from the file are read-only and not aligned
    writable = {name: private_copy(array) for name, array in arrays.items()}
    try:
        plain, extras = (unpack(document[name], writable) for name in ("snapshot", "extras"))
        return CheckpointContent(
            head["identity"], Snapshot.of({**plain, "history": unpack(document["history"], {})}), extras
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise KIND.damaged(f"it lacks a part ({error})") from error


def read(path: Path) -> CheckpointContent:
    """Read a checkpoint from a file; raise ModelFileError with the file's name."""
    with located_errors(KIND, path):
        return from_bytes(safetensors_file.read(KIND, path))
