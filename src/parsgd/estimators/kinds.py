"""Model kinds: everything that the code around the estimators may ask about linear models, networks and other models.

A :class:`ModelKind` describes the estimators of one kind of model: their fitted attributes, how they are saved, merged,
exported and planned for. To add a kind, derive a class from it and add an instance to ``KINDS`` of `registry.py`, or
call :func:`register`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from parsgd import registry
from parsgd.algorithms.merging import merge_weights
from parsgd.core import Model, Rows
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError
from parsgd.model_io.onnx_graph import Graph

# Fitted attributes of every kind.
COMMON_ATTRIBUTES = (
    "n_features_in_",
    "feature_names_in_",
    "t_",
    "n_iter_",
    "algorithm_",
    "outcome_",
    "history_",
    "merge_weights_",
    "columns_",
)
_registered: dict[str, ModelKind] = {}


class ModelKind(ABC):
    """A kind of model, with the estimators that train it.

    Attributes
    ----------
    name : str
        Name of the kind.
    estimators : mapping of str to str
        Name of each estimator class -> its place, ``module:Name``.
    fitted : mapping of str to tuple of str
        Name of each estimator class -> its fitted attributes, which a model file stores.
    plannable : frozenset of str
        Estimators that :func:`parsgd.plan` accepts: they have a loss on held-out rows.
    required : tuple of str
        Attributes without which an estimator is not fitted.
    convex : bool
        True if the objective is convex: a mean of several solutions is then nearly a solution.
    least_count, least_classes : int
        Smallest valid ``t_`` and ``n_iter_``, and number of classes.
    no_tolerance : float or None
        Value of ``tol`` without a stopping rule.
    common_start : bool
        True if a mean of models is meaningful only if they had the same initial parameters.
    """

    name: ClassVar[str]
    estimators: ClassVar[Mapping[str, str]]
    fitted: ClassVar[Mapping[str, tuple[str, ...]]]
    plannable: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[tuple[str, ...]]
    convex: ClassVar[bool]
    least_count: ClassVar[int] = 1
    least_classes: ClassVar[int] = 2
    no_tolerance: ClassVar[float | None] = None
    common_start: ClassVar[bool] = False

    # -- model files ---------------------------------------------------------------------------------------------------

    def check_parameters(self, estimator: Any) -> None:
        """Raise for an invalid parameter of the estimator; without an override all are accepted."""
        return

    def stored(self, estimator: Any) -> dict[str, Any]:
        """Return the fitted attributes in the form that a model file stores."""
        names = self.fitted[known_name(estimator)]
        return {name: vars(estimator)[name] for name in names if name in vars(estimator)}

    def restore(self, estimator: Any, stored: Mapping[str, Any]) -> None:
        """Set the fitted attributes from what :meth:`stored` returned."""
        for name, value in stored.items():
            setattr(estimator, name, value)

    def finish(self, estimator: Any, stored: Mapping[str, Any]) -> Any:
        """Return a restored estimator whose attributes have been checked."""
        return estimator

    @abstractmethod
    def problems(self, estimator: Any) -> Iterator[str]:
        """Yield inconsistencies of the parameters of the model; names and counts have been checked."""

    # -- planning ------------------------------------------------------------------------------------------------------

    def check_plannable(self, estimator: Any) -> None:
        """Raise if there is nothing to plan with these parameters; without an override there always is."""
        return

    @abstractmethod
    def held_out_targets(self, model: Any, y: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
        """Encode held-out targets for ``model``; ``classes`` are sorted, or None for a regression."""

    # -- other formats -------------------------------------------------------------------------------------------------

    @abstractmethod
    def dtype(self, estimator: Any) -> np.dtype[Any]:
        """Return the dtype of the parameters."""

    def n_parameters(self, estimator: Any) -> int:
        """Return the number of learned coefficients and intercepts."""
        return self.parameters(estimator).size

    def add_to_onnx(self, graph: Graph, estimator: Any, x: str) -> list[Any]:
        """Add the predictions for rows ``x`` to an ONNX graph and return its outputs."""
        raise InvalidArgumentError(f"to_onnx does not support {type(estimator).__name__}.")

    def to_sklearn(self, estimator: Any, name: str) -> Any:
        """Convert an estimator, whose class or base class is ``name``, to scikit-learn's."""
        raise IncompatiblePartsError(f"scikit-learn has no estimator with the predictions of {name}.")

    def copy_sklearn(self, ours: Any, theirs: Any) -> None:
        """Set the fitted attributes from those of scikit-learn's estimator of the same name; arrays are copied."""
        for name in self.fitted[known_name(ours)]:
            if name in vars(theirs):
                setattr(ours, name, copy.deepcopy(vars(theirs)[name]))

    # -- averages of fitted estimators -------------------------------------------------------------------------------

    def comparable(self, estimator: Any) -> dict[str, tuple[Any, str]]:
        """Return what must agree for parameters to be comparable: name -> value, and a remedy if it differs."""
        remedy = "Fit all with the same loss: decision values of different losses have different scales."
        return {"loss": (described_loss(estimator), remedy)}

    @abstractmethod
    def validation_problem(self, merged: Any, first: Any, X: Any, y: Any) -> tuple[Model, Rows]:
        """Return the model, without slots and in float64, and the validation rows in the kernels' format."""

    @abstractmethod
    def state(self, model: Any, estimator: Any) -> np.ndarray:
        """Return the parameters with which the estimator predicts, as a state of the model."""

    @abstractmethod
    def set_average(self, merged: Any, estimators: Sequence[Any], a: np.ndarray, shares: np.ndarray) -> None:
        """Set the parameters ``sum_i a_i w_i`` and the counts; ``shares`` are the weights, normalized to sum to 1."""

    def steps(self, estimator: Any) -> float:
        """Return the number of steps that the estimator has made, in a unit common to its kind."""
        return float(estimator.t_) - self.least_count

    def parameters(self, estimator: Any) -> np.ndarray:
        """Return the parameters as one vector, to compare starts."""
        raise NotImplementedError


def described_loss(estimator: Any) -> str | None:
    """Return the name of the loss, with the numbers of a user's, or None."""
    loss = getattr(estimator, "loss", None)
    if loss is None or isinstance(loss, str):
        return loss
    return f"{type(loss).__name__}({', '.join(f'{k}={v!r}' for k, v in sorted(vars(loss).items()))})"


def base_name(estimator: Any) -> str:
    """Return the name of the estimator's class; for estimators of :mod:`parsgd.dask`, of its base class."""
    return type(estimator).__name__.removeprefix("Dask")


def register(kind: ModelKind) -> None:
    """Add a kind, so that model files, plans and averages accept its estimators.

    Raises
    ------
    ValueError
        If the name of the kind or of an estimator is in use.
    """
    for other in all_kinds():
        if other.name == kind.name or other.estimators.keys() & kind.estimators.keys():
            raise ValueError(f"A kind named {kind.name!r}, or one of its estimators, is registered.")
    _registered[kind.name] = kind


def unregister(name: str) -> None:
    """Remove a registered kind."""
    del _registered[name]


def all_kinds() -> list[ModelKind]:
    """Return all kinds."""
    return [registry.load(path) for path in registry.KINDS.values()] + list(_registered.values())


def estimator_names() -> tuple[str, ...]:
    """Return the names of all estimators."""
    return tuple(name for kind in all_kinds() for name in kind.estimators)


def kind_named(name: str) -> ModelKind:
    """Return the kind of the estimator class ``name``."""
    return next(kind for kind in all_kinds() if name in kind.estimators)


def kind_of(estimator: Any) -> ModelKind:
    """Return the kind of an estimator, of scikit-learn's estimator of the same name, or of a subclass."""
    return kind_named(known_name(estimator))


def known_name(estimator: Any) -> str:
    """Return the name of the estimator's class, or of the base class that a kind has."""
    known = estimator_names()
    return next(cls.__name__ for cls in type(estimator).__mro__ if cls.__name__ in known)


def estimator_class(name: str) -> type:
    """Return the estimator class ``name``."""
    return registry.load(kind_named(name).estimators[name])


def is_fitted(estimator: Any) -> bool:
    """Return True if the estimator has the attributes that prediction needs."""
    return all(getattr(estimator, name, None) is not None for name in kind_of(estimator).required)


def sum_arrays(arrays: Sequence[np.ndarray], a: np.ndarray) -> np.ndarray:
    """Compute ``sum_i a_i arrays_i`` in the widest dtype among the arrays."""
    dtype = np.result_type(*arrays)
    flat = [np.ascontiguousarray(array, dtype=dtype).reshape(-1) for array in arrays]
    return merge_weights.weighted_sum(flat, a).reshape(arrays[0].shape)


def dense(array: Any) -> np.ndarray:
    """Return an array, also of a sparse one."""
    return array.toarray() if sparse.issparse(array) else np.asarray(array)
