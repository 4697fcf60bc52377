"""Errors, warnings and outcomes of parsgd.

::

    ParsgdError
    ├── InvalidArgumentError    (ValueError)    invalid value of an argument
    ├── IncompatiblePartsError  (ValueError)    incompatible components of a fit; names both and an alternative
    ├── DivergedError           (ValueError)    NaN or infinite parameters; names the round
    ├── DataFileError           (ValueError)    unreadable or incomplete data file
    ├── WorkersLostError        (RuntimeError)  all workers lost
    ├── ModelFileError          (ValueError)    model file that is damaged, foreign or of another version
    ├── CheckpointError         (ValueError)    checkpoints that cannot be resumed from or written
    └── MissingDependencyError  (ImportError)   missing optional package; names the command to install it
    DivergenceWarning           (UserWarning)   very large loss, finite parameters
    TooFewRowsWarning           (UserWarning)   n_jobs so large that the model becomes worse
    ShardSkewWarning            (UserWarning)   shards so different that averages may be poor
    FitInterruptedWarning       (UserWarning)   fit ended by Ctrl-C, model kept
    KernelCacheWarning          (UserWarning)   compiled kernels that cannot be cached
    CheckpointWarning           (UserWarning)   checkpoint that could not be written or read
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from numbers import Integral, Real

# The first sentence is the same as in scikit-learn.
_DIVERGENCE = (
    "Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input data with StandardScaler or MinMaxScaler"
    " might help. (In detail: {what}. A smaller eta0 also helps, or with learning_rate='optimal' a larger alpha.)"
)


class ParsgdError(Exception):
    """Base of all errors that parsgd raises."""


class InvalidArgumentError(ParsgdError, ValueError):
    """Invalid value of an argument."""


class IncompatiblePartsError(ParsgdError, ValueError):
    """Incompatible components of a fit."""


class DivergedError(ParsgdError, ValueError):
    """Diverged training: NaN or infinite parameters."""


def diverged(message: str, epoch: int, what: str) -> DivergedError:
    """Return the error for NaN or infinite parameters, with ``message`` (``Model.divergence``) if it is not empty.

    >>> str(diverged("", 3, "the weights are NaN")).startswith("Floating-point under-/overflow occurred at epoch #3.")
    True
    """
    return DivergedError((message or _DIVERGENCE).format(epoch=epoch, what=what))


class DataFileError(ParsgdError, ValueError):
    """Data file that cannot be read or lacks requested data."""


class ModelFileError(ParsgdError, ValueError):
    """Model file that is damaged, foreign or of another version."""


class CheckpointError(ParsgdError, ValueError):
    """Checkpoints that a fit cannot resume from, or cannot write."""


class WorkersLostError(ParsgdError, RuntimeError):
    """Loss of all workers."""


class MissingDependencyError(ParsgdError, ImportError):
    """Missing optional package."""


class DivergenceWarning(UserWarning):
    """Warning of a very large loss with finite parameters, which scikit-learn would return as well."""


class TooFewRowsWarning(UserWarning):
    """Warning of too few rows per worker: ``n_jobs`` is so large that the averaged model becomes worse."""


class ShardSkewWarning(UserWarning):
    """Warning of shards with different distributions, for which averages may be poor."""


class NoStepsWarning(UserWarning):
    """Warning of a fit that ended before the first step, so that the parameters are those of the start.

    An algorithm that collects gradients of several workers may need more of them than the passes give.
    """


class FitInterruptedWarning(UserWarning):
    """Warning that Ctrl-C ended a fit called by a script, a notebook or the command line; the model so far is kept.

    If a library called ``fit``, and in ``partial_fit``, KeyboardInterrupt is raised instead.  The estimator has the
    same attributes in both cases.
    """


class KernelCacheWarning(UserWarning):
    """Warning that compiled kernels cannot be read from or written to a cache; every process compiles them again."""


class CheckpointWarning(UserWarning):
    """Warning of a failed write, after which the fit continues, or of a damaged checkpoint, replaced by an older
    one."""


class Outcome(enum.Enum):
    """Outcome of a fit, as a sentence."""

    CONVERGED = "The loss no longer improved by more than tol."
    MAX_EPOCHS = "All max_iter passes over the data were made."
    OUT_OF_TIME = "The time limit of the fit was reached."
    INTERRUPTED = "The fit was interrupted; the best model so far was kept."
    STOPPED = "A callback stopped the fit."
    DIVERGED = "The parameters became NaN or infinite; the weights of the best epoch were kept."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with a leading space, or an empty string if no known name is close.

    >>> did_you_mean("hing", ["hinge", "huber"])
    " Did you mean 'hinge'?"
    """
    by_lower = {str(option).lower(): str(option) for option in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def choose(name: object, allowed: Iterable[str], argument: str, owner: str) -> str:
    """Return ``name`` if it is one of ``allowed``, else raise with the nearest allowed name.

    >>> choose("local", ["local", "weighted"], "algorithm", "SGDClassifier")
    'local'
    """
    allowed = list(allowed)
    if isinstance(name, str) and name in allowed:
        return name
    options = ", ".join(repr(a) for a in sorted(allowed))
    hint = did_you_mean(name, allowed) if isinstance(name, str) else ""
    raise InvalidArgumentError(
        f"The {argument!r} parameter of {owner} must be a str among {{{options}}}. Got {name!r} instead.{hint}"
    )


def check_count(value: object, argument: str, owner: str, *, optional: bool = True) -> None:
    """Raise unless the value is an int of at least 1, or None if ``optional``.

    >>> check_count(32, "batch_size", "MiniBatch")
    """
    if optional and value is None:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and value >= 1):
        none = ", or None" if optional else ""
        raise InvalidArgumentError(
            f"The {argument!r} parameter of {owner} must be an int of at least 1{none}. Got {value!r} instead."
        )


def check_flag(value: object, argument: str, owner: str) -> None:
    """Raise unless the value is True or False.

    >>> check_flag(True, "asynchronous", "ElasticAveraging")
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"The {argument!r} parameter of {owner} must be a bool. Got {value!r} instead.")


def check_between(value: object, low: float, high: float, argument: str, owner: str, *, optional: bool = False) -> None:
    """Raise unless ``low < value <= high``, or the value is None and ``optional``.

    >>> check_between(0.5, 0, 1, "sync_every", "LocalSGD")
    """
    if optional and value is None:
        return
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not (real and low < value <= high):
        none = " or None" if optional else ""
        raise InvalidArgumentError(
            f"The {argument!r} parameter of {owner} must be a number in the range ({low}, {high}]{none}. Got {value!r}"
            " instead."
        )
