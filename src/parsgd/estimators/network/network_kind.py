"""The kind of networks: what model files, plans, exports and averages need to know about their estimators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from parsgd.core import Model, Rows
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted.attribute_checks import is_number, problems_of_array, problems_of_rule
from parsgd.estimators.kinds import COMMON_ATTRIBUTES, ModelKind, known_name, sum_arrays
from parsgd.estimators.network import network_onnx, network_to_sklearn
from parsgd.estimators.network.mlp_base import single_column
from parsgd.estimators.network.mlp_records import layers_of, set_parameters
from parsgd.model_io.onnx_graph import Graph
from parsgd.models.network.network_model import Network
from parsgd.utils.row_arrays import rows_of

_FITTED = (
    *COMMON_ATTRIBUTES,
    "coefs_",
    "intercepts_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "_clock",
    "_slots",
    "_rule",
    "_gains",
    "_no_improvement_count",
)
_ONNX = {"MLPClassifier": network_onnx.network_classifier, "MLPRegressor": network_onnx.network_regressor}


class NetworkKind(ModelKind):
    """Feed-forward networks: MLPClassifier and MLPRegressor."""

    name = "network"
    estimators: ClassVar[Mapping[str, str]] = {
        "MLPClassifier": "parsgd.estimators.network.mlp_classifier:MLPClassifier",
        "MLPRegressor": "parsgd.estimators.network.mlp_regressor:MLPRegressor",
    }
    fitted: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "MLPClassifier": (*_FITTED, "classes_", "_multilabel"),
        "MLPRegressor": _FITTED,
    }
    plannable: ClassVar[frozenset[str]] = frozenset(estimators)
    required: ClassVar[tuple[str, ...]] = ("coefs_",)
    convex = False
    # as in scikit-learn: lbfgs visits no examples, and its initial point may be the best one
    least_count = 0
    least_classes = 1
    no_tolerance: ClassVar[float | None] = 0.0
    common_start = True

    def check_parameters(self, estimator: Any) -> None:
        estimator._check_parameters()

    def problems(self, estimator: Any) -> Iterator[str]:
        n_outputs = getattr(estimator, "n_outputs_", None)
        if not is_number(n_outputs, 1, whole=True):
            yield f"n_outputs_ is {n_outputs!r}, not a number of outputs"
        if "classes_" in vars(estimator):
            multilabel = getattr(estimator, "_multilabel", None)
            if not isinstance(multilabel, bool):
                yield f"_multilabel is {multilabel!r}, not True or False"
            n_classes = len(estimator.classes_)
            n_outputs = n_classes if multilabel or n_classes > 2 else 1
        coefs, intercepts = getattr(estimator, "coefs_", None), getattr(estimator, "intercepts_", None)
        if not (isinstance(coefs, list) and isinstance(intercepts, list) and len(coefs) == len(intercepts) > 0):
            yield "coefs_ and intercepts_ should be lists of arrays, one per layer"
        layers = (estimator.n_features_in_, *(getattr(array, "size", 0) for array in intercepts[:-1]), n_outputs)
        for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            yield from problems_of_array(f"coefs_[{i}]", coef, layers[i : i + 2])
            yield from problems_of_array(f"intercepts_[{i}]", intercept, layers[i + 1 : i + 2])
        yield from _problems_of_partial_fit(estimator, Network(layers).n_parameters)

    def check_plannable(self, estimator: Any) -> None:
        if estimator.solver == "lbfgs":
            raise InvalidArgumentError(
                "solver='lbfgs' uses all rows at once on one worker, so there is nothing to plan. Use adam, adamw or"
                " sgd."
            )

    def held_out_targets(self, model: Any, y: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
        if classes is None:
            y = y.astype(model.dtype)
            return y[:, None] if y.ndim == 1 else y
        numbers = np.searchsorted(classes, y)
        if model.loss == "softmax" or len(classes) > 2:
            return numbers.astype(np.int64)
        return (numbers == 1).astype(model.dtype)[:, None]

    def n_parameters(self, estimator: Any) -> int:
        return sum(part.size for part in (*estimator.coefs_, *estimator.intercepts_))

    def dtype(self, estimator: Any) -> np.dtype[Any]:
        return estimator.coefs_[0].dtype

    def add_to_onnx(self, graph: Graph, estimator: Any, x: str) -> list[Any]:
        return _ONNX[known_name(estimator)](graph, estimator, x)

    def to_sklearn(self, estimator: Any, name: str) -> Any:
        return network_to_sklearn.convert(estimator, name)

    def copy_sklearn(self, ours: Any, theirs: Any) -> None:
        super().copy_sklearn(ours, theirs)
        network_to_sklearn.copy_back(ours, theirs)

    def comparable(self, estimator: Any) -> dict[str, tuple[Any, str]]:
        return {
            "layers": (list(layers_of(estimator)), "Fit all with the same hidden_layer_sizes."),
            **super().comparable(estimator),
            "activation": (estimator.activation, "Fit all with the same activation."),
        }

    def validation_problem(self, merged: Any, first: Any, X: Any, y: Any) -> tuple[Model, Rows]:
        X, y = merged._read(X, y, reset=False)
        target = merged._encoder(np.float64)(single_column(y))[0]
        model = replace(merged._network(X, layers_of(first), 1), solver="sgd", dtype="float64", dropout=0.0)
        return model, rows_of(X, target)

    def state(self, model: Any, estimator: Any) -> np.ndarray:
        state = np.zeros(model.init(0).size)
        set_parameters(model, state, [*estimator.coefs_, *estimator.intercepts_])
        return state

    def set_average(self, merged: Any, estimators: Sequence[Any], a: np.ndarray, shares: np.ndarray) -> None:
        merged.coefs_, merged.intercepts_ = (
            [sum_arrays(layer, a) for layer in zip(*(getattr(e, name) for e in estimators), strict=True)]
            for name in ("coefs_", "intercepts_")
        )
        merged.t_ = int(sum(estimator.t_ for estimator in estimators))
        _set_slots(merged, estimators, shares)

    def parameters(self, estimator: Any) -> np.ndarray:
        return np.concatenate([coef.ravel() for coef in estimator.coefs_]).astype(float)


NETWORK = NetworkKind()


def _set_slots(merged: Any, estimators: Sequence[Any], shares: np.ndarray) -> None:
    """Set the means of the solver's slots, from which ``partial_fit`` continues."""
    slots = [getattr(estimator, "_slots", np.zeros(0)) for estimator in estimators]
    alike = len({len(part) for part in slots}) == 1 and merged.solver != "lbfgs"
    merged._slots = sum_arrays(slots, shares) if alike else np.zeros(0, dtype=merged.coefs_[0].dtype)
    if alike and all("_clock" in vars(estimator) for estimator in estimators):
        merged._clock = float(np.ceil(shares @ [estimator._clock for estimator in estimators] - 1e-9))


def _problems_of_partial_fit(estimator: Any, n_parameters: int) -> Iterator[str]:
    """Check what ``partial_fit`` of a network resumes from: solver slots, schedule step and stopping rule."""
    slots = getattr(estimator, "_slots", None)
    yield from problems_of_array("_slots", slots, (getattr(slots, "size", 0),))
    if slots.size % n_parameters:
        yield f"_slots has {slots.size} values, not a multiple of {n_parameters} parameters"
    if not is_number(getattr(estimator, "_clock", 1), 1):
        yield f"_clock is {estimator._clock!r}, not a number >= 1"
    if {"_rule", "_gains"} & vars(estimator).keys():
        yield from problems_of_array("_gains", getattr(estimator, "_gains", None), (1,))
        yield from problems_of_rule(getattr(estimator, "_rule", None), n_parameters)
