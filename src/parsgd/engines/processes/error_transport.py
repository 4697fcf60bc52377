"""Errors and warnings on their way from a worker to its driver."""

from __future__ import annotations

import pickle
import traceback
import warnings
from typing import Any

import cloudpickle


def packed_error(error: BaseException) -> tuple[bytes | None, str, str]:
    """An error as bytes, or None where it cannot travel; in words; and where it was raised."""
    words = "".join(traceback.format_exception_only(error)).strip()
    where = "".join(traceback.format_exception(error)).rstrip()
    try:
        data = cloudpickle.dumps(error, protocol=5)
        # many exceptions can be pickled and not unpickled: their arguments are not those of their class
        if type(pickle.loads(data)) is not type(error):
            data = None
    except Exception:
        data = None
    return data, words, where


def unpacked_error(data: bytes | None, words: str, where: str, who: str) -> BaseException:
    """The error, to be raised by the driver, with a note that says where it happened; as a RuntimeError where it cannot
    travel.

    >>> str(unpacked_error(*packed_error(ZeroDivisionError("oh")), "worker 3"))
    'oh'
    """
    error: BaseException = RuntimeError(words)
    if data is not None:
        try:
            error = pickle.loads(data)
        except Exception:
            error = RuntimeError(words)
    error.add_note(f"Raised by {who}:\n{where}")
    return error


class WarningRecorder:
    """Inside of it warnings are noted, each once, and shown nowhere."""

    def __init__(self) -> None:
        self.found: dict[tuple, None] = {}

    def __enter__(self) -> WarningRecorder:
        self.context = warnings.catch_warnings()
        self.context.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._note
        return self

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def _note(self, message: Any, category: type, filename: str, lineno: int, *_: Any) -> None:
        self.found[category, str(message), filename, lineno] = None

    def packed(self) -> bytes | None:
        """What was warned of, as bytes; None where nothing was."""
        if not self.found:
            return None
        try:
            return cloudpickle.dumps(list(self.found), protocol=5)
        except Exception:
            return cloudpickle.dumps([(RuntimeWarning, *rest) for _, *rest in self.found], protocol=5)


def warn_again(data: bytes | None, registry: dict) -> None:
    """Warn here of what was warned of there; ``registry`` remembers, for filters that show a warning once."""
    if data is None:
        return
    for category, text, filename, lineno in pickle.loads(data):
        warnings.warn_explicit(text, category, filename, lineno, registry=registry)
