"""Transport of errors and warnings from a worker to the driver."""

from __future__ import annotations

import contextlib
import pickle
import traceback
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from parsgd.engines.remote_reports import packed

# The record by which Python's filters show a warning once.
WarningRegistry = dict[str | tuple[str, type[Warning], int], int]


class PackedError(NamedTuple):
    """A pickled error (None if it cannot be pickled), its message and its traceback."""

    data: bytes | None
    message: str
    traceback: str


def packed_error(error: BaseException) -> PackedError:
    """Return an error in a form that can be sent."""
    try:
        data = packed(error)
        # many exceptions can be pickled but not unpickled: their arguments differ from those of their class
        if type(pickle.loads(data)) is not type(error):
            data = None
    except Exception:
        data = None
    message = "".join(traceback.format_exception_only(error)).strip()
    return PackedError(data, message, "".join(traceback.format_exception(error)).rstrip())


def unpacked_error(packed: PackedError, who: str) -> BaseException:
    """Return the error for the driver to raise, with a note that contains the worker's traceback.

    An error that cannot be pickled becomes a RuntimeError.

    >>> str(unpacked_error(packed_error(ZeroDivisionError("oh")), "worker 3"))
    'oh'
    """
    error: BaseException = RuntimeError(packed.message)
    if packed.data is not None:
        # the driver may lack a module of the worker
        with contextlib.suppress(Exception):
            error = pickle.loads(packed.data)
    error.add_note(f"Raised by {who}:\n{packed.traceback}")
    return error


def packed_warnings(recorded: Iterable[warnings.WarningMessage]) -> bytes | None:
    """Return the arguments of :func:`warnings.warn_explicit` for each warning as bytes; None if there are none."""
    found = [(str(warning.message), warning.category, warning.filename, warning.lineno) for warning in recorded]
    try:
        return packed(found) if found else None
    except Exception:
        return packed([(text, RuntimeWarning, filename, lineno) for text, _, filename, lineno in found])


def warn_again(data: bytes | None, registry: WarningRegistry) -> None:
    """Issue the warnings recorded on a worker; ``registry`` makes filters that show a warning once work."""
    recorded: list[tuple[str, type[Warning], str, int]] = [] if data is None else pickle.loads(data)
    for arguments in recorded:
        warnings.warn_explicit(*arguments, registry=registry)
