"""Errors on the command line: what was typed (exit code 2), what the files hold (1), and Ctrl-C (130)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, ParsgdError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class UsageError(Exception):
    """The command was typed with options that cannot be used; the message says what to type instead."""


class CliExit(Exception):
    """The command ends with exit code ``code``, after saying ``message`` on standard error."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint, with a space before it, or nothing."""
    by_lower = {str(option).lower(): str(option) for option in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn every expected error into :class:`CliExit`."""
    try:
        yield
    except (UsageError, InvalidArgumentError, IncompatiblePartsError) as error:
        raise CliExit(str(error), USAGE) from error
    except DivergedError as error:
        raise CliExit(f"{error} Here that is --standardize, a smaller --eta0, a larger --alpha.", FAILURE) from error
    except ParsgdError as error:
        raise CliExit(str(error), FAILURE) from error
    except MemoryError as error:
        raise CliExit("There is not enough memory for this. Try fewer rows or columns (--drop).", FAILURE) from error
    except BrokenPipeError:
        # whoever read the output has had enough, as in `parsgd predict ... --out - | head`
        raise
    except OSError as error:
        raise CliExit(f"{error.filename or 'a file'}: {error.strerror or error}", FAILURE) from error
    except KeyboardInterrupt as error:
        raise CliExit("Interrupted before there was anything to keep; nothing was written.", INTERRUPTED) from error
