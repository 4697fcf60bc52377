"""The files that parsgd writes: a safetensors file with a JSON object, the head, in its metadata.

The metadata has one entry, ``parsgd``: the head with the format's number, the version that wrote it, and a SHA-256
digest over all of the head and all tensors.  Opening one never runs code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.errors import MissingDependencyError, ModelFileError
from parsgd.model_io.packing import DTYPES

# safetensors reads no longer ones.
_LONGEST_HEADER = 100_000_000
_NAMES = {numpy: theirs for theirs, numpy in DTYPES.items()}


@dataclass(frozen=True)
class Kind:
    """What the messages about one kind of files say: its name, who makes it, what to do about a damaged one, and which
    extra brings what it needs."""

    name: str
    made_by: str
    remedy: str
    extra: str
    # what to do about a file of a format that is no longer read
    older: str = ""

    def damaged(self, what: str) -> ModelFileError:
        """The error for a file of which ``what`` is wrong."""
        return ModelFileError(f"is damaged: {what}. {self.remedy}")

    def foreign(self) -> ModelFileError:
        """The error for a safetensors file of somebody else's."""
        return ModelFileError(f"is a safetensors file, but not one that parsgd wrote. Make one with {self.made_by}.")


def safetensors(kind: Kind) -> Any:
    """The package, or :class:`~parsgd.errors.MissingDependencyError` that says what needs it."""
    try:
        return importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        needed_by = f"{kind.name.capitalize()}s"
        raise MissingDependencyError(f"{needed_by} need safetensors: pip install 'parsgd[{kind.extra}]'") from error


def digest(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the head, without its own ``sha256``, and over every array's name, type, shape and bytes."""
    plain = {key: value for key, value in head.items() if key != "sha256"}
    found = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        found.update(_bytes_of(array) if array.size else b"")
    return found.hexdigest()


def serialize(kind: Kind, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[memoryview | bytes]:
    """The content of a file, in parts to be written one after the other: of the arrays nothing is copied.

    The format is the safetensors library's: the length of the header in 8 bytes, the header, and the arrays without
    gaps, wide numbers first, so that all of them are aligned.
    """
    safetensors(kind)
    text = json.dumps({**head, "sha256": digest(head, arrays)}, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"parsgd": text}}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
    whole = json.dumps(header).encode()
    whole += b" " * (-len(whole) % 8)
    return [len(whole).to_bytes(8, "little") + whole, *(_bytes_of(array) for _, array in ordered if array.size)]


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def read(kind: Kind, path: str | os.PathLike) -> bytes:
    """All of a file; of one that begins as none of ours does, its beginning, however long it is.

    Raises
    ------
    ModelFileError
        If it is a device, or safetensors, but not ours.
    OSError
        If it cannot be read.
    """
    with open(Path(path), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise ModelFileError("is a device, not a file. Check the name.")
        front = file.read(9)
        length = int.from_bytes(front[:8], "little")
        most = status.st_size - 8 if stat.S_ISREG(status.st_mode) else _LONGEST_HEADER
        if not 2 <= length <= min(most, _LONGEST_HEADER) or not front.endswith(b"{"):
            return front
        header = file.read(length - 1)
        if b"parsgd" not in header:
            raise kind.foreign()
        return front + header + file.read()


def take_apart(kind: Kind, content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """The head, as it is, and the tensors.  Raises ModelFileError on what :func:`serialize` cannot have made."""
    library = safetensors(kind)
    try:
        tensors = library.deserialize(content)
    except library.SafetensorError as error:
        raise ModelFileError(_what_it_is(kind, content, error)) from error
    header = read_json(kind, content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or "parsgd" not in metadata:
        raise kind.foreign()
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in DTYPES:
            raise kind.damaged(f"tensor {name!r} has the unknown type {tensor['dtype']}")
        try:
            arrays[name] = np.frombuffer(tensor["data"], dtype=DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        except (ValueError, OverflowError) as error:
            raise kind.damaged(f"tensor {name!r} has the impossible shape {tensor['shape']}") from error
    return read_json(kind, metadata["parsgd"]), arrays


def checked(kind: Kind, head: Any, arrays: dict[str, np.ndarray], number: int, version: str) -> dict[str, Any]:
    """The head, if it is of format ``number`` and its digest is right; ``version`` is the one that reads."""
    if not isinstance(head, dict) or not isinstance(head.get("format"), int):
        raise kind.damaged("its header does not say which format it has")
    if head["format"] < number and kind.older:
        raise ModelFileError(
            f"has format {head['format']}, written by an earlier parsgd, {head.get('version')}; this one reads format"
            f" {number} only: {kind.older}"
        )
    if head["format"] != number:
        raise ModelFileError(
            f"has format {head['format']}, written by parsgd {head.get('version')}; this parsgd, {version},"
            f" reads format {number}. Update it: pip install --upgrade parsgd"
        )
    if head.get("sha256") != digest(head, arrays):
        raise kind.damaged("its content does not match its checksum")
    return head


def read_json(kind: Kind, text: str | bytes) -> Any:
    """What the text says."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except ValueError as error:
        raise kind.damaged(f"a part that should be JSON is not ({error})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name is there twice")
    return names


def _refuse_constant(text: str) -> Any:
    # Python reads NaN and Infinity; they are written otherwise
    raise ValueError(f"{text} is no number")


def _what_it_is(kind: Kind, content: bytes, error: Exception) -> str:
    if content[:1] == b"\x80":
        return "is a pickle; parsgd opens none, because opening one runs code. Save models with parsgd.save."
    if not content:
        return f"is empty. {kind.remedy}"
    made = f"{kind.name.capitalize()}s are made by {kind.made_by}."
    return f"is not a {kind.name}, or a damaged one ({error}). {made} {kind.remedy}"
