"""Nodes of ONNX graphs that several kinds of estimators share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

# the name of the free dimension; the axis of classes
ROWS, COLUMNS = "rows", np.array([1])


class GraphBuilder(Protocol):
    """A builder of an ONNX graph, :class:`parsgd.model_io.onnx_graph.Graph`."""

    onnx: Any
    dtype: np.dtype[Any]

    def node(self, kind: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node of an ONNX operator and return the name of its result, ``name`` if given."""
        ...

    def labels(self, classes: np.ndarray) -> str:
        """Add an array of classes and return its name."""
        ...

    def output(self, name: str, kind: Any, *shape: Any) -> Any:
        """Declare ``name`` as an output of the graph; ``kind`` is a NumPy dtype."""
        ...


def add_label(graph: GraphBuilder, classes: np.ndarray, values: str, threshold: float) -> Any:
    """Add ``label (n_rows,)``: the class of the largest value, or by a threshold for one column."""
    if len(classes) > 2:
        number = graph.node("ArgMax", values, axis=1, keepdims=0)
    else:
        above = graph.node("Cast", graph.node("Greater", values, threshold), to=graph.onnx.TensorProto.INT64)
        # a network may have been fitted to one class only
        number = graph.node("Squeeze", graph.node("Min", above, np.array(len(classes) - 1)), COLUMNS)
    names = graph.labels(classes)
    graph.node("Gather", names, number, axis=0, name="label")
    kinds = {"i": np.int64, "u": np.int64, "f": np.float64}
    return graph.output("label", kinds.get(classes.dtype.kind, classes.dtype), ROWS)
