"""The kind of linear models: what model files, plans, exports and averages need to know about their estimators."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from parsgd.core import Model, Rows
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted.attribute_checks import problems_of_array
from parsgd.estimators.kinds import COMMON_ATTRIBUTES, ModelKind, base_name, dense, known_name, sum_arrays
from parsgd.estimators.linear import linear_onnx, linear_to_sklearn
from parsgd.estimators.linear.feature_statistics import MOMENTS
from parsgd.estimators.linear.sgd_base import AVERAGES, SQUARES
from parsgd.estimators.linear.two_classes import halves, is_difference, with_difference
from parsgd.estimators.linear.uncertainty.uncertain_linear import UNCERTAINTY, problems_of_uncertainty
from parsgd.estimators.training_data import InMemoryData
from parsgd.kernels import losses
from parsgd.model_io.onnx_graph import Graph
from parsgd.utils.row_arrays import rows_of

_COEFFICIENTS = ("coef_", "intercept_", "offset_")
# a model file sets ``sparsified`` if coef_ was sparse
_FITTED = (*COMMON_ATTRIBUTES, *_COEFFICIENTS, *AVERAGES, *SQUARES, *MOMENTS, "sparsified")
_UNCERTAIN = (*_FITTED, *UNCERTAINTY)
_ONNX = {
    "SGDClassifier": linear_onnx.linear_classifier,
    "SGDRegressor": linear_onnx.linear_regressor,
    "SGDOneClassSVM": linear_onnx.one_class,
}


class LinearKind(ModelKind):
    """Linear models: SGDClassifier, SGDRegressor and SGDOneClassSVM."""

    name = "linear"
    estimators: ClassVar[Mapping[str, str]] = {
        "SGDClassifier": "parsgd.estimators.linear.sgd_classifier:SGDClassifier",
        "SGDOneClassSVM": "parsgd.estimators.linear.one_class_svm:SGDOneClassSVM",
        "SGDRegressor": "parsgd.estimators.linear.sgd_regressor:SGDRegressor",
    }
    fitted: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "SGDClassifier": (*_UNCERTAIN, "classes_"),
        "SGDOneClassSVM": _FITTED,
        "SGDRegressor": _UNCERTAIN,
    }
    plannable: ClassVar[frozenset[str]] = frozenset({"SGDClassifier", "SGDRegressor"})
    required: ClassVar[tuple[str, ...]] = ("coef_",)
    convex = True

    def check_parameters(self, estimator: Any) -> None:
        estimator._check_parameters()

    def stored(self, estimator: Any) -> dict[str, Any]:
        fitted = super().stored(estimator)
        if sparse.issparse(fitted.get("coef_")):
            fitted |= {"coef_": estimator.coef_.toarray(), "sparsified": True}
        return fitted

    def restore(self, estimator: Any, stored: Mapping[str, Any]) -> None:
        super().restore(estimator, {name: value for name, value in stored.items() if name != "sparsified"})
        with_difference(estimator)

    def finish(self, estimator: Any, stored: Mapping[str, Any]) -> Any:
        return estimator.sparsify() if stored.get("sparsified") is True else estimator

    def problems(self, estimator: Any) -> Iterator[str]:
        name, n_features, n_outputs = known_name(estimator), estimator.n_features_in_, 1
        if name == "SGDClassifier":
            n_classes = len(estimator.classes_)
            n_outputs = 1 if n_classes == 2 and not losses.describe(estimator.loss).joint else n_classes
        # two classes share one row for any number of outputs
        n_rows = 1 if n_outputs <= 2 else n_outputs
        coef_shape = (n_rows, n_features) if name == "SGDClassifier" else (n_features,)
        shapes = {"coef_": coef_shape, "offset_" if name == "SGDOneClassSVM" else "intercept_": (n_rows,)}
        optional = dict.fromkeys(("_standard_coef", "_average_coef", "_squares"), (n_outputs, n_features))
        optional |= dict.fromkeys(("_standard_intercept", "_average_intercept", "_intercept_squares"), (n_outputs,))
        optional |= {"_feature_moments": (5, n_features), "_target_moments": (3,)}
        shapes |= {key: shape for key, shape in optional.items() if key in vars(estimator)}
        for key, shape in shapes.items():
            yield from problems_of_array(key, getattr(estimator, key, None), shape)
        for group in (AVERAGES, SQUARES, MOMENTS):
            if 0 < sum(key in vars(estimator) for key in group) < len(group):
                yield f"some of {', '.join(group)} are missing; all or none must be present"
        yield from problems_of_uncertainty(estimator)

    def check_plannable(self, estimator: Any) -> None:
        if base_name(estimator) not in self.plannable:
            raise InvalidArgumentError(
                "plan needs a loss on held-out rows, and SGDOneClassSVM has none: its rows are of one class. Plan for a"
                " classifier or a regressor."
            )

    def held_out_targets(self, model: Any, y: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
        if classes is None:
            return y.astype(model.dtype)
        numbers = np.searchsorted(classes, y)
        if model.n_outputs > 1:
            return numbers.astype(np.int64)
        return (2.0 * numbers - 1.0).astype(model.dtype)

    def n_parameters(self, estimator: Any) -> int:
        # a one-class model has an offset in place of the intercept
        return math.prod(estimator.coef_.shape) + int(np.size(vars(estimator).get("intercept_", 0.0)))

    def dtype(self, estimator: Any) -> np.dtype[Any]:
        return estimator.coef_.dtype

    def add_to_onnx(self, graph: Graph, estimator: Any, x: str) -> list[Any]:
        return _ONNX[known_name(estimator)](graph, estimator, x)

    def to_sklearn(self, estimator: Any, name: str) -> Any:
        return linear_to_sklearn.convert(estimator, name)

    def copy_sklearn(self, ours: Any, theirs: Any) -> None:
        super().copy_sklearn(ours, theirs)
        # for two classes scikit-learn stores the averages without the output axis
        for key in ("_standard_coef", "_average_coef"):
            if key in vars(ours):
                setattr(ours, key, np.reshape(getattr(ours, key), (-1, ours.n_features_in_)))

    def comparable(self, estimator: Any) -> dict[str, tuple[Any, str]]:
        shape = (estimator.coef_.shape, "Fit all to the same classes and columns.")
        agree = {"shape of coef_": shape, **super().comparable(estimator)}
        if isinstance(estimator.loss, str):
            # a loss may have several names
            agree["loss"] = (losses.describe(estimator.loss).name, agree["loss"][1])
        return agree

    def validation_problem(self, merged: Any, first: Any, X: Any, y: Any) -> tuple[Model, Rows]:
        X, y = merged._read(X, y, reset=False)
        model, encoder = merged._model_and_encoder(InMemoryData(X, y))
        target = encoder(y)[0]
        return replace(model, average=0, penalty="l2", dtype="float64"), rows_of(X, target)

    def state(self, model: Any, estimator: Any) -> np.ndarray:
        state = np.zeros(model.init(0).size)
        views = model.views(state)
        coef = dense(estimator.coef_)
        intercept = estimator._intercept
        if is_difference(estimator):
            coef, intercept = halves(coef), halves(intercept)
        views["coef"][:], views["intercept"][:] = coef.reshape(model.n_outputs, -1).T, intercept
        return state

    def set_average(self, merged: Any, estimators: Sequence[Any], a: np.ndarray, shares: np.ndarray) -> None:
        merged.t_ = float(shares @ [estimator.t_ for estimator in estimators])
        for key in (*_COEFFICIENTS, *AVERAGES, *SQUARES):
            if not all(key in vars(estimator) for estimator in estimators):
                continue
            parts = [dense(getattr(estimator, key)) for estimator in estimators]
            if key == "offset_":
                # merges the intercept, 1 - offset, because the weights may not sum to 1
                merged.offset_ = sum_arrays(parts, a) + (1.0 - a.sum()) if len(a) > 1 else parts[0].copy()
            elif key in SQUARES:
                # means, like the slots of a network's solver
                merged.__dict__[key] = np.maximum(sum_arrays(parts, shares), 0.0)
            else:
                merged.__dict__[key] = sum_arrays(parts, a)


LINEAR = LinearKind()
