"""Everything parsgd raises, warns, or says of how a fit ended.

::

    ParsgdError
    ├── InvalidArgumentError      (ValueError)   an argument's value cannot be used
    ├── IncompatiblePartsError    (ValueError)   two parts of a fit exclude each other; says which, and what to take
    instead ├── DivergedError        (ValueError)   parameters left the finite numbers; names the round
    ├── DataFileError        (ValueError)   a data file cannot be read, or lacks what was asked of it
    ├── WorkersLostError          (RuntimeError) no worker is left to go on with
    ├── ModelFileError       (ValueError)   a model file is damaged, foreign or of another version
    ├── CheckpointError      (ValueError)   a fit cannot go on from its checkpoints, or cannot keep any
    └── MissingDependencyError    (ImportError)  an optional package is needed; says how to install it
    DivergenceWarning        (UserWarning)  the loss exploded, but the parameters are finite
    TooFewRowsWarning        (UserWarning)  n_jobs asks for so many workers that the model becomes worse
    ShardSkewWarning             (UserWarning)  the workers' rows differ so much that averages may be poor
    FitInterruptedWarning           (UserWarning)  Ctrl-C ended a fit that a program called itself; the model so far was
    kept KernelCacheWarning       (UserWarning)  compiled kernels cannot be cached; every process compiles them again
    CheckpointWarning        (UserWarning)  a checkpoint could not be written, or not be read
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from numbers import Integral, Real

# The first sentence is scikit-learn's.
_DIVERGENCE = (
    "Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input data with StandardScaler or MinMaxScaler"
    " might help. (In detail: {what}. A smaller eta0 also helps, or with learning_rate='optimal' a larger alpha.)"
)


class ParsgdError(Exception):
    """Base of all errors that parsgd raises on purpose."""


class InvalidArgumentError(ParsgdError, ValueError):
    """An argument's value cannot be used."""


class IncompatiblePartsError(ParsgdError, ValueError):
    """Two parts of a fit exclude each other."""


class DivergedError(ParsgdError, ValueError):
    """The parameters left the finite numbers."""


def diverged(model: object, epoch: int, what: str) -> DivergedError:
    """The error for parameters that are not finite, in the words of the model (``Model.divergence``).

    >>> str(diverged(None, 3, "the weights are NaN")).startswith("Floating-point under-/overflow occurred at epoch #3.")
    True
    """
    return DivergedError(getattr(model, "divergence", _DIVERGENCE).format(epoch=epoch, what=what))


class DataFileError(ParsgdError, ValueError):
    """A data file cannot be read, or lacks what was asked of it."""


class ModelFileError(ParsgdError, ValueError):
    """A model file is damaged, foreign or of another version."""


class CheckpointError(ParsgdError, ValueError):
    """A fit cannot go on from its checkpoints, or cannot keep any."""


class WorkersLostError(ParsgdError, RuntimeError):
    """No worker is left to go on with."""


class MissingDependencyError(ParsgdError, ImportError):
    """An optional package is needed."""


class DivergenceWarning(UserWarning):
    """The loss exploded, but the parameters are finite, as scikit-learn would leave them."""


class TooFewRowsWarning(UserWarning):
    """``n_jobs`` asks for so many workers that each has too few rows, and the average of their models is worse."""


class ShardSkewWarning(UserWarning):
    """The workers' rows differ so much from one another that averages of what they learn may be poor."""


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit that a script, a notebook or the command line called itself; the model so far was kept.

    Where a library called ``fit``, and from ``partial_fit``, KeyboardInterrupt is raised instead, and the estimator has
    the same attributes.
    """


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be read from, or written to, a cache; every process compiles them again."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, and the fit goes on; or not be read, and an older one was."""


class Outcome(enum.Enum):
    """How a fit ended, as a sentence."""

    CONVERGED = "The loss no longer improved by more than tol."
    MAX_EPOCHS = "All max_iter passes over the data were made."
    OUT_OF_TIME = "The time given to the fit was used up."
    INTERRUPTED = "The fit was interrupted; the best model so far was kept."
    STOPPED = "A callback asked to stop."
    DIVERGED = "The parameters left the finite numbers; the weights of the best epoch were kept."


def choose(name: object, allowed: Iterable[str], argument: str, who: str) -> str:
    """Return ``name`` if it is one of ``allowed``; otherwise raise, with the nearest name that is.

    >>> choose("local", ["local", "weighted"], "algorithm", "SGDClassifier")
    'local'
    """
    allowed = list(allowed)
    if isinstance(name, str) and name in allowed:
        return name
    options = ", ".join(repr(a) for a in sorted(allowed))
    near = difflib.get_close_matches(str(name), allowed, n=1) if isinstance(name, str) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InvalidArgumentError(
        f"The {argument!r} parameter of {who} must be a str among {{{options}}}. Got {name!r} instead.{hint}"
    )


def check_count(value: object, argument: str, who: str, *, optional: bool = True) -> None:
    """Raise unless the value is a whole number from 1 on, or None where that is allowed.

    >>> check_count(32, "batch_size", "MiniBatch")
    """
    if optional and value is None:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and value >= 1):
        none = ", or None" if optional else ""
        raise InvalidArgumentError(
            f"The {argument!r} parameter of {who} must be an int from 1 on{none}. Got {value!r} instead."
        )


def check_flag(value: object, argument: str, who: str) -> None:
    """Raise unless the value is True or False.

    >>> check_flag(True, "asynchronous", "ElasticAveraging")
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"The {argument!r} parameter of {who} must be a bool. Got {value!r} instead.")


def check_between(value: object, low: float, high: float, argument: str, who: str, *, optional: bool = False) -> None:
    """Raise unless ``low < value <= high``, or the value is None where that is allowed.

    >>> check_between(0.5, 0, 1, "sync_every", "LocalSGD")
    """
    if optional and value is None:
        return
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not (real and low < value <= high):
        none = " or None" if optional else ""
        raise InvalidArgumentError(
            f"The {argument!r} parameter of {who} must be a number in the range ({low}, {high}]{none}. Got {value!r}"
            " instead."
        )
