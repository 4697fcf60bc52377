"""Predictions of linear models as nodes of an ONNX graph, with the formulas of the estimators' methods.

Each function adds nodes to a graph and returns the graph's outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.estimators.kinds import dense
from parsgd.kernels import losses
from parsgd.model_io.onnx_graph import COLUMNS, ROWS, Graph, add_label


def linear_classifier(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label``, and ``probabilities`` or ``scores`` depending on the loss."""
    decision = _decision(graph, model.coef_, model.intercept_, x)
    loss = losses.describe(model.loss)
    p = None
    if loss.joint and len(model.classes_) == 2:
        second = graph.node("Sigmoid", decision)
        p = graph.node("Concat", graph.node("Sub", 1.0, second), second, axis=1)
    elif loss.joint:
        p = graph.node("Softmax", decision, axis=1)
    elif loss.probability is not None:
        p = _normalized(graph, loss.probability.onnx(graph, decision), len(model.classes_))
    label = add_label(graph, model.classes_, decision, 0.0)
    if p is not None:
        graph.node("Identity", p, name="probabilities")
        return [label, graph.output("probabilities", graph.dtype, ROWS, len(model.classes_))]
    n_classes = len(model.classes_)
    if n_classes == 2:
        graph.node("Squeeze", decision, COLUMNS, name="scores")
        return [label, graph.output("scores", graph.dtype, ROWS)]
    graph.node("Identity", decision, name="scores")
    return [label, graph.output("scores", graph.dtype, ROWS, n_classes)]


def linear_regressor(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``variable (n_rows,)``."""
    decision = _decision(graph, model.coef_.reshape(1, -1), model.intercept_, x)
    link = losses.describe(model.loss).inverse_link
    if link is not None:
        decision = graph.node(link.onnx, decision)
    graph.node("Squeeze", decision, COLUMNS, name="variable")
    return [graph.output("variable", graph.dtype, ROWS)]


def one_class(graph: Graph, model: Any, x: str) -> list[Any]:
    """Add ``label (n_rows,)``, 1 or -1, and ``scores (n_rows,)``."""
    decision = _decision(graph, model.coef_.reshape(1, -1), -model.offset_, x)
    graph.node("Squeeze", decision, COLUMNS, name="scores")
    outside = graph.node("Less", "scores", 0.0)
    graph.node("Where", outside, np.array(-1), np.array(1), name="label")
    return [graph.output("label", np.int64, ROWS), graph.output("scores", graph.dtype, ROWS)]


def _decision(graph: Graph, coef: Any, intercept: np.ndarray, x: str) -> str:
    """Add ``X coef^T + intercept``."""
    return graph.node("Gemm", x, dense(coef).T, intercept)


def _normalized(graph: Graph, p: str, n_classes: int) -> str:
    """Normalize per-class probabilities to sum to 1; all-zero rows get equal ones."""
    if n_classes == 2:
        return graph.node("Concat", graph.node("Sub", 1.0, p), p, axis=1)
    all_zero = graph.node("Equal", graph.node("ReduceSum", p, COLUMNS, keepdims=1), 0.0)
    p = graph.node("Where", all_zero, 1.0, p)
    return graph.node("Div", p, graph.node("ReduceSum", p, COLUMNS, keepdims=1))
