"""Transport of errors and warnings from a worker to the driver."""

from __future__ import annotations

import pickle
import traceback
import warnings
from typing import Any

import cloudpickle


def packed_error(error: BaseException) -> tuple[bytes | None, str, str]:
    """Return an error as bytes (None if it cannot be pickled), its message and its traceback."""
    message = "".join(traceback.format_exception_only(error)).strip()
    traceback_text = "".join(traceback.format_exception(error)).rstrip()
    try:
        data = cloudpickle.dumps(error, protocol=5)
        # many exceptions can be pickled but not unpickled: their arguments differ from those of their class
        if type(pickle.loads(data)) is not type(error):
            data = None
    except Exception:
        data = None
    return data, message, traceback_text


def unpacked_error(data: bytes | None, message: str, traceback_text: str, who: str) -> BaseException:
    """Return the error for the driver to raise, with a note that contains the worker's traceback.

    An error that cannot be pickled becomes a RuntimeError.

    >>> str(unpacked_error(*packed_error(ZeroDivisionError("oh")), "worker 3"))
    'oh'
    """
    error: BaseException = RuntimeError(message)
    if data is not None:
        try:
            error = pickle.loads(data)
        except Exception:
            error = RuntimeError(message)
    error.add_note(f"Raised by {who}:\n{traceback_text}")
    return error


class WarningRecorder:
    """Context manager that records warnings, each once, and displays none."""

    def __init__(self) -> None:
        self.recorded: dict[tuple, None] = {}

    def __enter__(self) -> WarningRecorder:
        self.context = warnings.catch_warnings()
        self.context.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._record
        return self

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def _record(self, message: Any, category: type, filename: str, lineno: int, *_: Any) -> None:
        self.recorded[category, str(message), filename, lineno] = None

    def packed(self) -> bytes | None:
        """Return the recorded warnings as bytes; None if there are none."""
        if not self.recorded:
            return None
        try:
            return cloudpickle.dumps(list(self.recorded), protocol=5)
        except Exception:
            return cloudpickle.dumps([(RuntimeWarning, *rest) for _, *rest in self.recorded], protocol=5)


def warn_again(data: bytes | None, registry: dict) -> None:
    """Issue the warnings recorded on a worker; ``registry`` makes filters that show a warning once work."""
    if data is None:
        return
    for category, text, filename, lineno in pickle.loads(data):
        warnings.warn_explicit(text, category, filename, lineno, registry=registry)
