"""Errors on the command line and their exit codes: invalid options (2), failures (1) and Ctrl-C (130)."""

from __future__ import annotations

from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, ParsgdError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class CliExit(Exception):
    """The end of the command: ``message`` goes to standard error, and ``code`` is the exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class UsageError(CliExit):
    """An invalid command line; the message gives the correction."""

    def __init__(self, message: str):
        super().__init__(message, USAGE)


def exit_of(error: BaseException) -> CliExit | None:
    """Return the end of the command after an error, or None after an unexpected one.

    A closed pipe (``parsgd predict ... --out - | head``) counts as unexpected: typer ends the command quietly.
    """
    match error:
        case CliExit():
            return error
        case InvalidArgumentError() | IncompatiblePartsError():
            return CliExit(str(error), USAGE)
        case DivergedError():
            return CliExit(f"{error} Options: --standardize, a smaller --eta0, a larger --alpha.", FAILURE)
        case ParsgdError():
            return CliExit(str(error), FAILURE)
        case MemoryError():
            return CliExit("Not enough memory. Use fewer rows or columns (--drop).", FAILURE)
        case OSError() if not isinstance(error, BrokenPipeError):
            return CliExit(f"{error.filename or 'a file'}: {error.strerror or error}", FAILURE)
        case KeyboardInterrupt():
            return CliExit("Interrupted before there was a result; nothing was written.", INTERRUPTED)
    return None
