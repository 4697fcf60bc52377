"""The losses of linear models: everything that the rest of parsgd may ask about a loss, one record per loss.

A loss is a function of one prediction ``p`` at target ``y``. Classes are ``y = -1, +1``; formulas use ``z = y p`` and
``r = p - y``. A ``formula`` is plain Python, which ``loss_kernels.py`` compiles into the kernels. This module imports
neither NumPy nor Numba, because the command line reads the names.

To add a loss, append a formula and a record in :data:`BUILTIN`. :func:`register` adds one at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from parsgd.kernels import loss_curvatures as curvatures
from parsgd.kernels.linear.hyperparams import NEGLIGIBLE

if TYPE_CHECKING:
    import numpy as np

CLASSIFIER, REGRESSOR, ONE_CLASS = "classifier", "regressor", "one-class"
# Value of ``Loss.to_sklearn`` for losses of scikit-learn's own SGD estimators.
SGD = "SGD"


class UserLoss(Protocol):
    """A user's loss: an object with these methods, and numeric attributes only."""

    def loss(self, y: float, p: float) -> float:
        """Return the loss of prediction ``p`` at target ``y``."""

    def gradient(self, y: float, p: float) -> float:
        """Return the derivative of the loss in ``p``."""


class NodeBuilder(Protocol):
    """An ONNX graph, as far as formulas of predictions need it."""

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node and return the name of its output."""


@dataclass(frozen=True)
class InverseLink:
    """The function from decision values to predictions: in NumPy, and as the name of an ONNX operator."""

    values: Callable[[np.ndarray], np.ndarray]
    onnx: str


@dataclass(frozen=True)
class Probability:
    """The function from a class's decision values to numbers in [0, 1], which are normalized to sum to 1."""

    values: Callable[[np.ndarray], np.ndarray]
    onnx: Callable[[NodeBuilder, str], str]


@dataclass(frozen=True)
class Loss:
    """A loss of linear models.

    Parameters
    ----------
    name : str
        Value of the estimators' parameter ``loss``; ``aliases`` are further values.
    formula : callable or None
        ``(parameter, y, p) -> (gradient, l, f)``, where the loss is ``l + log(f)`` with ``1 <= f <= 1e100``: a sum of
        logarithms is the logarithm of a product. ``f`` is 1 where no logarithm is needed. It may use numbers and
        :mod:`math`, and must be compilable by Numba. None: a ``joint`` loss or a user's.
    serves : tuple of str
        The estimators that accept it: ``"classifier"``, ``"regressor"``, ``"one-class"``.
    parameter : float or str
        The formula's parameter, or the name of the estimator's attribute that holds it.
    joint : bool
        The loss of all outputs at once. ``multi.py`` and ``adagrad_multi.py`` have the steps of softmax.
    gradient_grows : bool
        The gradient grows with the error, so a fit with a large learning rate diverges.
    nonnegative_targets : bool
        Targets below 0 are refused.
    inverse_link : InverseLink or None
        None: the prediction is the decision value.
    probability : Probability or None
        None: no probabilities, except for a joint loss.
    to_sklearn : str or None
        Class of :mod:`sklearn.linear_model` with the same predictions. ``"SGD"``: the SGD estimator of the same name.
        None: LinearSVC or LinearRegression, which predict from decision values.
    from_sklearn : tuple of str
        scikit-learn's estimators that continue with this loss.
    curvature : callable or None
        ``(parameter, y, p) -> second derivative in p``, on arrays. At a kink of the gradient it is that of either side.
        None: the gradient jumps, or the derivative is not known.
    user : UserLoss or None
        A user's loss.
    """

    name: str
    formula: Callable[[float, float, float], tuple[float, float, float]] | None = None
    serves: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    parameter: float | str = 0.0
    joint: bool = False
    gradient_grows: bool = False
    nonnegative_targets: bool = False
    inverse_link: InverseLink | None = None
    probability: Probability | None = None
    to_sklearn: str | None = None
    from_sklearn: tuple[str, ...] = ()
    curvature: Callable[[float, np.ndarray, np.ndarray], np.ndarray] | None = None
    user: UserLoss | None = None

    @property
    def has_probabilities(self) -> bool:
        """True if a classifier with this loss predicts probabilities."""
        return self.joint or self.probability is not None

    @property
    def is_compiled_separately(self) -> bool:
        """True for a user's or a registered loss, which gets kernels of its own."""
        return self.user is not None or self.name not in _CODES

    @property
    def code(self) -> int:
        """Number by which the kernels select a built-in loss; losses with one formula share it."""
        return _CODES[self.name]

    def predict(self, decision: np.ndarray) -> np.ndarray:
        """Return the predictions of decision values."""
        return decision if self.inverse_link is None else self.inverse_link.values(decision)


# -- formulas --------------------------------------------------------------------------------------------------------

# Choices that depend on the data are selections, not branches. The sign of a margin is mispredicted half of the time,
# and a misprediction costs as much as the rest of a dense row. Conditions are written such that NaN stays NaN.


def hinge(threshold: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``max(0, t - z)``: t = 1 for hinge, 0 for perceptron."""
    violation = threshold - y * p
    return (-y if violation >= 0.0 else 0.0), (0.0 if violation < 0.0 else violation), 1.0


def squared_hinge(_: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``max(0, 1 - z)^2``."""
    violation = 1.0 - y * p
    violation = 0.0 if violation < 0.0 else violation
    return -2.0 * y * violation, violation * violation, 1.0


def logistic(y: float, z: float, e: float) -> tuple[float, float, float]:
    """Return the logistic loss at ``z = y p``, given ``e = exp(-abs(z))``; one multiplication replaces a logarithm."""
    e = 0.0 if abs(z) > NEGLIGIBLE else e
    return -y * (e if z > 0.0 else 1.0) / (1.0 + e), (0.0 if -z < 0.0 else -z), 1.0 + e


def log_loss(_: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``log(1 + exp(-z))``."""
    z = y * p
    # math.exp of the C library is 6 ns faster than fast_exp for a single value
    return logistic(y, z, math.exp(-abs(z)))


def modified_huber(_: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``max(0, 1 - z)^2`` for z >= -1, else ``-4 z``."""
    z = y * p
    violation = 1.0 - z
    violation = 0.0 if violation < 0.0 else violation
    is_far = z < -1.0
    return (-4.0 * y if is_far else -2.0 * y * violation), (-4.0 * z if is_far else violation * violation), 1.0


def squared_error(_: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``r^2 / 2``."""
    r = p - y
    return r, 0.5 * r * r, 1.0


def huber(epsilon: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``r^2 / 2`` for abs(r) <= e, else ``e (abs(r) - e / 2)``."""
    r = p - y
    is_near = abs(r) <= epsilon
    gradient = r if is_near else math.copysign(epsilon, r)
    return gradient, (0.5 * r * r if is_near else epsilon * (abs(r) - 0.5 * epsilon)), 1.0


def epsilon_insensitive(epsilon: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``max(0, abs(r) - e)``."""
    r = p - y
    excess = abs(r) - epsilon
    excess = 0.0 if excess < 0.0 else excess
    return (math.copysign(1.0, r) if excess > 0.0 else 0.0), excess, 1.0


def squared_epsilon_insensitive(epsilon: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``max(0, abs(r) - e)^2``."""
    r = p - y
    excess = abs(r) - epsilon
    excess = 0.0 if excess < 0.0 else excess
    return math.copysign(2.0 * excess, r), excess * excess, 1.0


def quantile(level: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``(1 - q) r`` for r >= 0, else ``-q r``."""
    r = p - y
    gradient = -level if r < 0.0 else (1.0 - level if r > 0.0 else 0.0)
    return gradient, gradient * r, 1.0


def poisson(_: float, y: float, p: float) -> tuple[float, float, float]:
    """Return ``exp(p) - y p``."""
    rate = 0.0 if p < -NEGLIGIBLE else math.exp(700.0 if p > 700.0 else p)
    return rate - y, rate - y * p, 1.0


# -- predictions -----------------------------------------------------------------------------------------------------


def _exp(decision: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.exp(decision)


def _expit(decision: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(decision)


def _clipped(decision: np.ndarray) -> np.ndarray:
    return (decision.clip(-1, 1) + 1) / 2


def _clipped_onnx(graph: NodeBuilder, decision: str) -> str:
    return graph.node("Div", graph.node("Add", graph.node("Clip", decision, -1.0, 1.0), 1.0), 2.0)


EXP = InverseLink(_exp, "Exp")
LOGISTIC = Probability(_expit, lambda graph, decision: graph.node("Sigmoid", decision))
# Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002
CLIPPED = Probability(_clipped, _clipped_onnx)

# -- the table -------------------------------------------------------------------------------------------------------

_BOTH = (CLASSIFIER, REGRESSOR)
BUILTIN = (
    Loss("hinge", hinge, (CLASSIFIER, ONE_CLASS), parameter=1.0, to_sklearn=SGD),
    Loss(
        "squared_hinge",
        squared_hinge,
        (CLASSIFIER,),
        gradient_grows=True,
        to_sklearn=SGD,
        from_sklearn=("LinearSVC",),
        curvature=curvatures.squared_hinge,
    ),
    Loss("perceptron", hinge, (CLASSIFIER,), to_sklearn=SGD),
    Loss(
        "log_loss",
        log_loss,
        (CLASSIFIER,),
        probability=LOGISTIC,
        to_sklearn=SGD,
        from_sklearn=("LogisticRegression",),
        curvature=curvatures.log_loss,
    ),
    Loss(
        "modified_huber",
        modified_huber,
        (CLASSIFIER,),
        probability=CLIPPED,
        to_sklearn=SGD,
        curvature=curvatures.modified_huber,
    ),
    Loss(
        "squared_error",
        squared_error,
        _BOTH,
        gradient_grows=True,
        to_sklearn=SGD,
        from_sklearn=("RidgeClassifier", "LinearRegression", "Ridge", "Lasso", "ElasticNet"),
        curvature=curvatures.squared_error,
    ),
    Loss(
        "huber",
        huber,
        _BOTH,
        parameter="epsilon",
        to_sklearn=SGD,
        curvature=curvatures.huber,
    ),
    Loss("epsilon_insensitive", epsilon_insensitive, _BOTH, parameter="epsilon", to_sklearn=SGD),
    Loss(
        "squared_epsilon_insensitive",
        squared_epsilon_insensitive,
        _BOTH,
        parameter="epsilon",
        gradient_grows=True,
        to_sklearn=SGD,
        curvature=curvatures.squared_epsilon_insensitive,
    ),
    Loss(
        "quantile",
        quantile,
        (REGRESSOR,),
        ("pinball",),
        parameter="quantile",
        to_sklearn="QuantileRegressor",
        from_sklearn=("QuantileRegressor",),
    ),
    Loss(
        "poisson",
        poisson,
        (REGRESSOR,),
        gradient_grows=True,
        nonnegative_targets=True,
        inverse_link=EXP,
        to_sklearn="PoissonRegressor",
        from_sklearn=("PoissonRegressor",),
        curvature=curvatures.poisson,
    ),
    # log(sum_k exp(p_k)) - p_y
    Loss("softmax", None, (CLASSIFIER,), joint=True, to_sklearn="LogisticRegression"),
)
_formulas = [loss.formula for loss in BUILTIN]
_CODES = {loss.name: _formulas.index(loss.formula) for loss in BUILTIN}
_by_name = {name: loss for loss in BUILTIN for name in (loss.name, *loss.aliases)}


def register(loss: Loss) -> None:
    """Add a loss, so that the estimators in ``loss.serves`` accept its name.

    Its formula is compiled into kernels of its own. Worker processes must register it as well, for example in the
    module that defines the formula.

    Raises
    ------
    ValueError
        If the name is in use, or the loss has no formula of one prediction.
    """
    names = (loss.name, *loss.aliases)
    used = [name for name in names if _by_name.get(name, loss) != loss]
    if used:
        raise ValueError(f"A loss named {used[0]!r} exists.")
    if loss.formula is None or loss.joint:
        raise ValueError(f"The loss {loss.name!r} needs a formula of one prediction: joint must be False.")
    _by_name.update(dict.fromkeys(names, loss))


def unregister(name: str) -> None:
    """Remove a registered loss."""
    loss = _by_name[name]
    if not loss.is_compiled_separately:
        raise ValueError(f"The loss {name!r} is built in.")
    for key in (loss.name, *loss.aliases):
        del _by_name[key]


def names(serves: str | None = None) -> tuple[str, ...]:
    """Return the names, aliases included, of the losses that an estimator accepts; None: all losses, without aliases.

    >>> names("one-class")
    ('hinge',)
    """
    if serves is None:
        return tuple(name for name, loss in _by_name.items() if name == loss.name)
    return tuple(name for name, loss in _by_name.items() if serves in loss.serves)


def describe(loss: str | UserLoss) -> Loss:
    """Return the record of a loss, given by its name or as a user's object; an unknown name serves no estimator.

    >>> describe("pinball").name
    'quantile'
    """
    if isinstance(loss, str):
        return _by_name.get(loss) or Loss(loss)
    return Loss(type(loss).__name__, serves=_BOTH, user=loss)


def from_sklearn_classes() -> dict[str, str]:
    """Return the names of scikit-learn's estimators that parsgd continues, with their loss."""
    return {name: loss.name for loss in _by_name.values() for name in loss.from_sklearn}
