"""Errors on the command line and their exit codes: invalid options (2), failures (1) and Ctrl-C (130)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, ParsgdError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class UsageError(Exception):
    """An invalid command line; the message gives the correction."""


class CliExit(Exception):
    """The end of the command: ``message`` goes to standard error, and ``code`` is the exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn every expected error into :class:`CliExit`."""
    try:
        yield
    except (UsageError, InvalidArgumentError, IncompatiblePartsError) as error:
        raise CliExit(str(error), USAGE) from error
    except DivergedError as error:
        raise CliExit(f"{error} Options: --standardize, a smaller --eta0, a larger --alpha.", FAILURE) from error
    except ParsgdError as error:
        raise CliExit(str(error), FAILURE) from error
    except MemoryError as error:
        raise CliExit("Not enough memory. Use fewer rows or columns (--drop).", FAILURE) from error
    except BrokenPipeError:
        # the reader closed the pipe, as in `parsgd predict ... --out - | head`
        raise
    except OSError as error:
        raise CliExit(f"{error.filename or 'a file'}: {error.strerror or error}", FAILURE) from error
    except KeyboardInterrupt as error:
        raise CliExit("Interrupted before there was a result; nothing was written.", INTERRUPTED) from error
