"""Transport of errors and warnings from a worker to the driver."""

from __future__ import annotations

import contextlib
import pickle
import traceback
import warnings
from collections.abc import Generator
from typing import NamedTuple

from parsgd.engines.processes.shared_memory import dumps

# The record by which Python's filters show a warning once.
WarningRegistry = dict[str | tuple[str, type[Warning], int], int]


class PackedError(NamedTuple):
    """A pickled error (None if it cannot be pickled), its message and its traceback."""

    data: bytes | None
    message: str
    traceback: str


class RecordedWarning(NamedTuple):
    """The arguments of :func:`warnings.warn_explicit`."""

    category: type[Warning]
    text: str
    filename: str
    lineno: int


def packed_error(error: BaseException) -> PackedError:
    """Return an error in a form that can be sent."""
    try:
        data = dumps(error)
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


@contextlib.contextmanager
def recorded_warnings() -> Generator[dict[RecordedWarning, None]]:
    """Record the warnings of the block, each once, and display none."""
    found: dict[RecordedWarning, None] = {}

    def record(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        found[RecordedWarning(category, str(message), filename, lineno)] = None

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = record
        yield found


def packed_warnings(recorded: dict[RecordedWarning, None]) -> bytes | None:
    """Return the recorded warnings as bytes; None if there are none."""
    if not recorded:
        return None
    try:
        return dumps(list(recorded))
    except Exception:
        return dumps([warning._replace(category=RuntimeWarning) for warning in recorded])


def warn_again(data: bytes | None, registry: WarningRegistry) -> None:
    """Issue the warnings recorded on a worker; ``registry`` makes filters that show a warning once work."""
    if data is None:
        return
    recorded: list[RecordedWarning] = pickle.loads(data)
    for category, text, filename, lineno in recorded:
        warnings.warn_explicit(text, category, filename, lineno, registry=registry)
