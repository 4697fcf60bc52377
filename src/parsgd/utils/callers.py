"""Location of the code that called parsgd, for warnings."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

# Modules skipped between an estimator's work and the code that called it.
_OURS = ("parsgd", "sklearn.base", "sklearn.callback", "contextlib", "importlib", "numba")


def caller_of(frame: FrameType | None) -> tuple[int, str]:
    """Return the number of frames to the nearest caller outside of parsgd and its libraries, and its module."""
    level = 1
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not any(name == ours or name.startswith(f"{ours}.") for ours in _OURS):
            return level, name
        # Python does not count the frames of an import
        level += "importlib._bootstrap" not in frame.f_code.co_filename
        frame = frame.f_back
    return level, ""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the line that called parsgd."""
    warnings.warn(message, category, stacklevel=caller_of(sys._getframe(1))[0] + 1)
