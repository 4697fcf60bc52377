"""Predictions of networks as nodes of an ONNX graph, with the formulas of the estimators' methods.

Each function adds nodes to a graph and returns the graph's outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parsgd.model_io.onnx_graph import COLUMNS, ROWS, Graph, add_label
from parsgd.models.network.forward import GELU_CUBE, GELU_RATE, LEAK, LOSSES


def network_classifier(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label`` and ``probabilities``; for multilabel targets both are ``(n_rows, n_labels)``."""
    n_classes, z = len(model.classes_), _propagate(graph, model, x)
    if model._multilabel:
        graph.node("Sigmoid", z, name="probabilities")
        graph.node("Cast", graph.node("Greater", "probabilities", 0.5), name="label", to=graph.onnx.TensorProto.INT64)
        label = graph.output("label", np.int64, ROWS, n_classes)
    elif n_classes > 2:
        graph.node("Softmax", z, axis=1, name="probabilities")
        label = add_label(graph, model.classes_, "probabilities", 0.5)
    else:
        p = graph.node("Sigmoid", z)
        graph.node("Concat", graph.node("Sub", 1.0, p), p, axis=1, name="probabilities")
        label = add_label(graph, model.classes_, p, 0.5)
    return [label, graph.output("probabilities", graph.dtype, ROWS, max(n_classes, 2))]


def network_regressor(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``variable (n_rows,)``, or ``(n_rows, n_outputs)``."""
    z = _propagate(graph, model, x)
    operator = LOSSES[model.loss].onnx
    if operator is not None:
        z = graph.node(operator, z)
    if model.n_outputs_ == 1:
        graph.node("Squeeze", z, COLUMNS, name="variable")
        return [graph.output("variable", graph.dtype, ROWS)]
    graph.node("Identity", z, name="variable")
    return [graph.output("variable", graph.dtype, ROWS, model.n_outputs_)]


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
ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "identity": lambda graph, z: z,
    "logistic": lambda graph, z: graph.node("Sigmoid", z),
    "tanh": lambda graph, z: graph.node("Tanh", z),
    "relu": lambda graph, z: graph.node("Relu", z),
    "gelu": _gelu,
    "leaky_relu": lambda graph, z: graph.node("Max", z, graph.node("Mul", z, LEAK)),
}
