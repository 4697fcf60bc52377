"""One checkpoint as the content of a file, and back; nothing in it runs code.

The head says what the fit is (:mod:`parsgd.checkpointing.fit_fingerprint`), the tensor ``document`` is the JSON text of
the snapshot and of what the estimator adds, and the other tensors are the arrays of both.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.algorithms.common.worker_loop import private_copy
from parsgd.errors import CheckpointError, ModelFileError
from parsgd.model_io import safetensors_file
from parsgd.model_io.packing import pack, unpack
from parsgd.model_io.safetensors_file import Kind, checked, read_json, serialize, take_apart
from parsgd.training.snapshot import Snapshot

FORMAT = 2
KIND = Kind(
    "checkpoint",
    "a fit with checkpoint=",
    "Delete it; the one before may be whole.",
    "files",
    "to start the fit again, name another folder or delete this one; to resume it, use the parsgd that wrote it.",
)
_CLASS = "checkpoint"


def _version() -> str:
    # the package is above this layer, and has been imported whenever this runs
    return sys.modules["parsgd"].__version__


@dataclass(frozen=True)
class CheckpointContent:
    """What a checkpoint holds: what the fit is, where it stood, and what the estimator adds."""

    identity: dict[str, dict[str, Any]]
    snapshot: Snapshot
    extras: dict[str, Any]


class HistoryEncoder:
    """Entries of a history as JSON; each is packed once, because in a long fit there are many of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def text(self, history: list[dict[str, Any]]) -> str:
        """The whole history.  All but the last entry are taken to be those of the call before, and more."""
        self.texts = [*self.texts[: max(len(history) - 1, 0)]]
        texts = [*self.texts, *(json.dumps(pack(entry, "history", {})) for entry in history[len(self.texts) :])]
        # the last one may still change
        self.texts = texts[:-1]
        return f"[{','.join(texts)}]"


def to_parts(kept: CheckpointContent, packed: HistoryEncoder | None = None) -> list[bytes | memoryview]:
    """The content of a file, in parts to be written one after the other; ``packed`` remembers what was packed before.

    Raises
    ------
    CheckpointError
        If an algorithm remembers what is not made of numbers, texts, arrays, lists, tuples and dictionaries.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        plain = kept.snapshot.plain()
        history = (packed or HistoryEncoder()).text(plain.pop("history"))
        snapshot, extras = pack(plain, "snapshot", arrays), pack(kept.extras, "extras", arrays)
    except ModelFileError as error:
        raise CheckpointError(
            f"This fit cannot be kept: {str(error).partition(' cannot be saved')[0]} is not made of numbers, texts,"
            " arrays, lists, tuples and dictionaries. An algorithm's memory must be; or fit with checkpoint=None."
        ) from error
    document = json.dumps({"snapshot": snapshot, "extras": extras}, sort_keys=True)
    document = f'{{"history": {history}, {document[1:]}'
    arrays["document"] = np.frombuffer(document.encode(), dtype=np.uint8)
    head = {"format": FORMAT, "version": _version(), "class": _CLASS, "identity": kept.identity}
    return serialize(KIND, head, arrays)


def from_bytes(content: bytes) -> CheckpointContent:
    """The inverse of :func:`to_parts`.

    Raises
    ------
    ModelFileError
        If the content is damaged, no checkpoint, or of another format.
    """
    head, arrays = take_apart(KIND, content)
    head = checked(KIND, head, arrays, FORMAT, _version())
    if head.get("class") != _CLASS or "document" not in arrays or not isinstance(head.get("identity"), dict):
        raise ModelFileError(f"holds {head.get('class')!r}, not a checkpoint.")
    document = read_json(KIND, arrays.pop("document").tobytes())
    # what was read cannot be written to, and is not where processors like numbers to lie
    own = {name: private_copy(array.reshape(-1)).reshape(array.shape) for name, array in arrays.items()}
    try:
        plain, extras = (unpack(document[name], own) for name in ("snapshot", "extras"))
        return CheckpointContent(
            head["identity"], Snapshot.of({**plain, "history": unpack(document["history"], {})}), extras
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise KIND.damaged(f"it lacks a part ({error})") from error


def read(path: Path) -> CheckpointContent:
    """The checkpoint in a file.  Raises ModelFileError with the file's name."""
    try:
        return from_bytes(safetensors_file.read(KIND, path))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise ModelFileError(f"{path}: does not fit in memory.") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: is damaged: it is nested beyond reason.") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
