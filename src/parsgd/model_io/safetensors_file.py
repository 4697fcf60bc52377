"""The file format of parsgd: a safetensors file with a JSON object, the head, in its metadata.

The metadata has one entry, ``parsgd``: the head with the format number, the version that wrote the file, and a SHA-256
digest of the head and all tensors. Opening a file never runs code.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.errors import MissingDependencyError, ModelFileError
from parsgd.model_io.packing import DTYPES

# Header limit of the safetensors library, in bytes.
_MAX_HEADER = 100_000_000
_NAMES = {numpy: theirs for theirs, numpy in DTYPES.items()}


@dataclass(frozen=True)
class Kind:
    """Message texts for one kind of file: its name, its producer, the remedy for damage, the extra to install."""

    name: str
    made_by: str
    remedy: str
    extra: str
    # remedy for a file of an older format that is not supported any more, and for one that cannot be opened
    older: str = ""
    unopened: str = ""

    def damaged(self, what: str) -> ModelFileError:
        """Return the error for a damaged file; ``what`` describes the damage."""
        return ModelFileError(f"is damaged: {what}. {self.remedy}")

    def foreign(self) -> ModelFileError:
        """Return the error for a safetensors file of another program."""
        return ModelFileError(f"is a safetensors file, but not one that parsgd wrote. Make one with {self.made_by}.")


@contextlib.contextmanager
def located_errors(kind: Kind, path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert the errors of reading a file to ModelFileError with its path."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}.{kind.unopened}") from error
    except MemoryError as error:
        raise ModelFileError(f"{path}: does not fit in memory.") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: {kind.damaged('it is nested too deeply')}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


def safetensors(kind: Kind) -> Any:
    """Import the safetensors package; raise MissingDependencyError if it is not installed."""
    try:
        return importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        needed_by = f"{kind.name.capitalize()}s"
        raise MissingDependencyError(f"{needed_by} need safetensors: pip install 'parsgd[{kind.extra}]'") from error


def digest(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Compute SHA-256 of the head, without its ``sha256``, and of each array's name, dtype, shape and bytes."""
    plain = {key: value for key, value in head.items() if key != "sha256"}
    sha256 = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha256.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        sha256.update(_bytes_of(array) if array.size else b"")
    return sha256.hexdigest()


def serialize(kind: Kind, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[memoryview | bytes]:
    """Return the content of a file in parts, without copying the arrays.

    The format is that of the safetensors library: the header length in 8 bytes, the header, and the arrays without
    gaps. Arrays of wide dtypes come first, so that all are aligned.
    """
    safetensors(kind)
    text = json.dumps({**head, "sha256": digest(head, arrays)}, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"parsgd": text}}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
    header_bytes = json.dumps(header).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)
    return [
        len(header_bytes).to_bytes(8, "little") + header_bytes,
        *(_bytes_of(array) for _, array in ordered if array.size),
    ]


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def read(kind: Kind, path: str | os.PathLike[str]) -> bytes:
    """Read a file; of a file that does not start like parsgd's, only the first bytes.

    Raises ModelFileError if it is a device, or a safetensors file that parsgd did not write. Raises OSError if it
    cannot be read.
    """
    with open(Path(path), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise ModelFileError("is a device, not a file. Check the name.")
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        limit = status.st_size - 8 if stat.S_ISREG(status.st_mode) else _MAX_HEADER
        if not 2 <= length <= min(limit, _MAX_HEADER) or not start.endswith(b"{"):
            return start
        header = file.read(length - 1)
        if b"parsgd" not in header:
            raise kind.foreign()
        return start + header + file.read()


def deserialize(kind: Kind, content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the unchecked head and the tensors; raise ModelFileError for invalid content."""
    library = safetensors(kind)
    try:
        tensors = library.deserialize(content)
    except library.SafetensorError as error:
        raise ModelFileError(_parse_error(kind, content, error)) from error
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


def validate_head(kind: Kind, head: Any, arrays: dict[str, np.ndarray], number: int, version: str) -> dict[str, Any]:
    """Return the head if its format is ``number`` and its digest is correct; ``version`` is the reading version."""
    if not isinstance(head, dict) or not isinstance(head.get("format"), int):
        raise kind.damaged("its header lacks the format number")
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
    """Parse JSON text; raise ModelFileError if it is invalid."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except ValueError as error:
        raise kind.damaged(f"a part that should be JSON is not ({error})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _refuse_constant(text: str) -> Any:
    # Python's parser accepts NaN and Infinity, which parsgd writes as ``$float``
    raise ValueError(f"{text} is not allowed")


def _parse_error(kind: Kind, content: bytes, error: Exception) -> str:
    if content[:1] == b"\x80":
        return "is a pickle, which parsgd does not open, because unpickling runs code. Save models with parsgd.save."
    if not content:
        return f"is empty. {kind.remedy}"
    remedy = f"{kind.name.capitalize()}s are made by {kind.made_by}."
    return f"is not a {kind.name}, or a damaged one ({error}). {remedy} {kind.remedy}"
