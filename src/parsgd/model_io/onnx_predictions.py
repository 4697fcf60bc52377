"""Predictions of each estimator as nodes of an ONNX graph.

Each function adds nodes to a graph and returns names of results ``(n_rows, n_outputs)``, or the graph's outputs. The
formulas are those of the estimators' ``predict``, ``predict_proba`` and ``decision_function``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.estimators.linear.one_class_svm import SGDOneClassSVM
from parsgd.estimators.linear.sgd_classifier import SGDClassifier
from parsgd.estimators.linear.sgd_regressor import SGDRegressor
from parsgd.estimators.network.mlp_classifier import MLPClassifier
from parsgd.estimators.network.mlp_regressor import MLPRegressor
from parsgd.model_io.onnx_graph import Graph
from parsgd.models.network.forward import GELU_CUBE, GELU_RATE, LEAK

_ROWS, _COLUMNS = "rows", np.array([1])  # the name of the free dimension; the axis of classes


def linear_classifier(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label``, and ``probabilities`` or ``scores`` depending on the loss."""
    decision = _decision(graph, model.coef_, model.intercept_, x)
    if model.loss == "softmax":
        if len(model.classes_) == 2:
            second = graph.node("Sigmoid", decision)
            p = graph.node("Concat", graph.node("Sub", 1.0, second), second, axis=1)
        else:
            p = graph.node("Softmax", decision, axis=1)
    elif model.loss == "log_loss":
        p = _normalized(graph, graph.node("Sigmoid", decision), len(model.classes_))
    elif model.loss == "modified_huber":
        low = graph.node("Clip", decision, -1.0, 1.0)
        p = _normalized(graph, graph.node("Div", graph.node("Add", low, 1.0), 2.0), len(model.classes_))
    else:
        p = None
    label = _label(graph, model.classes_, decision, 0.0)
    if p is not None:
        graph.node("Identity", p, name="probabilities")
        return [label, graph.output("probabilities", graph.dtype, _ROWS, len(model.classes_))]
    n_classes = len(model.classes_)
    if n_classes == 2:
        graph.node("Squeeze", decision, _COLUMNS, name="scores")
        return [label, graph.output("scores", graph.dtype, _ROWS)]
    graph.node("Identity", decision, name="scores")
    return [label, graph.output("scores", graph.dtype, _ROWS, n_classes)]


def linear_regressor(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``variable (n_rows,)``."""
    decision = _decision(graph, model.coef_.reshape(1, -1), model.intercept_, x)
    if model._loss_name == "poisson":
        decision = graph.node("Exp", decision)
    graph.node("Squeeze", decision, _COLUMNS, name="variable")
    return [graph.output("variable", graph.dtype, _ROWS)]


def one_class(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label (n_rows,)``, 1 or -1, and ``scores (n_rows,)``."""
    decision = _decision(graph, model.coef_.reshape(1, -1), -model.offset_, x)
    graph.node("Squeeze", decision, _COLUMNS, name="scores")
    outside = graph.node("Less", "scores", 0.0)
    graph.node("Where", outside, np.array(-1), np.array(1), name="label")
    return [graph.output("label", np.int64, _ROWS), graph.output("scores", graph.dtype, _ROWS)]


def network_classifier(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label`` and ``probabilities``; for multilabel targets both are ``(n_rows, n_labels)``."""
    n_classes, z = len(model.classes_), _propagate(graph, model, x)
    if model._multilabel:
        graph.node("Sigmoid", z, name="probabilities")
        graph.node("Cast", graph.node("Greater", "probabilities", 0.5), name="label", to=graph.onnx.TensorProto.INT64)
        label = graph.output("label", np.int64, _ROWS, n_classes)
    elif n_classes > 2:
        graph.node("Softmax", z, axis=1, name="probabilities")
        label = _label(graph, model.classes_, "probabilities", 0.5)
    else:
        p = graph.node("Sigmoid", z)
        graph.node("Concat", graph.node("Sub", 1.0, p), p, axis=1, name="probabilities")
        label = _label(graph, model.classes_, p, 0.5)
    return [label, graph.output("probabilities", graph.dtype, _ROWS, max(n_classes, 2))]


def network_regressor(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``variable (n_rows,)``, or ``(n_rows, n_outputs)``."""
    z = _propagate(graph, model, x)
    if model.loss == "poisson":
        z = graph.node("Exp", z)
    if model.n_outputs_ == 1:
        graph.node("Squeeze", z, _COLUMNS, name="variable")
        return [graph.output("variable", graph.dtype, _ROWS)]
    graph.node("Identity", z, name="variable")
    return [graph.output("variable", graph.dtype, _ROWS, model.n_outputs_)]


PREDICTIONS = {
    SGDClassifier: linear_classifier,
    SGDRegressor: linear_regressor,
    SGDOneClassSVM: one_class,
    MLPClassifier: network_classifier,
    MLPRegressor: network_regressor,
}


def _decision(graph: Graph, coef: Any, intercept: np.ndarray, x: str) -> str:
    """Add ``X coef^T + intercept``."""
    coef = coef.toarray() if hasattr(coef, "toarray") else coef
    return graph.node("Gemm", x, coef.T, intercept)


def _propagate(graph: Graph, model: Any, x: str) -> str:
    """Add all layers and return the products of the last one."""
    for layer, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = graph.node("Gemm", ACTIVATIONS[model.activation](graph, x) if layer else x, coef, intercept)
    return x


def _gelu(graph: Graph, z: str) -> str:
    cube = graph.node("Mul", graph.node("Mul", graph.node("Mul", z, z), z), GELU_CUBE)
    gate = graph.node("Sigmoid", graph.node("Mul", graph.node("Add", z, cube), GELU_RATE))
    return graph.node("Mul", z, gate)


# ONNX has operators for some of these; the operators used here support float64 as well.
ACTIVATIONS = {
    "identity": lambda graph, z: z,
    "logistic": lambda graph, z: graph.node("Sigmoid", z),
    "tanh": lambda graph, z: graph.node("Tanh", z),
    "relu": lambda graph, z: graph.node("Relu", z),
    "gelu": _gelu,
    "leaky_relu": lambda graph, z: graph.node("Max", z, graph.node("Mul", z, LEAK)),
}


def _normalized(graph: Graph, p: str, n_classes: int) -> str:
    """Normalize per-class probabilities to sum to 1; all-zero rows get equal ones."""
    if n_classes == 2:
        return graph.node("Concat", graph.node("Sub", 1.0, p), p, axis=1)
    all_zero = graph.node("Equal", graph.node("ReduceSum", p, _COLUMNS, keepdims=1), 0.0)
    p = graph.node("Where", all_zero, 1.0, p)
    return graph.node("Div", p, graph.node("ReduceSum", p, _COLUMNS, keepdims=1))


def _label(graph: Graph, classes: np.ndarray, values: str, threshold: float) -> Any:
    """Add ``label (n_rows,)``: the class of the largest value, or by a threshold for one column."""
    if len(classes) > 2:
        number = graph.node("ArgMax", values, axis=1, keepdims=0)
    else:
        above = graph.node("Cast", graph.node("Greater", values, threshold), to=graph.onnx.TensorProto.INT64)
        # a network may have been fitted to one class only
        number = graph.node("Squeeze", graph.node("Min", above, np.array(len(classes) - 1)), _COLUMNS)
    names = graph.labels(classes)
    graph.node("Gather", names, number, axis=0, name="label")
    kinds = {"i": np.int64, "u": np.int64, "f": np.float64}
    return graph.output("label", kinds.get(classes.dtype.kind, classes.dtype), _ROWS)
