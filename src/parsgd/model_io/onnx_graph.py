"""Builder of an ONNX graph: each call adds a node and returns the name of its result. Nodes that all kinds share."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError, MissingDependencyError

# An ONNX file is a protobuf message, which is limited to 2 GiB; 1 MiB is reserved for names.
_MAX_BYTES = 2**31 - 2**20
# the name of the free dimension; the axis of classes
ROWS, COLUMNS = "rows", np.array([1])


class Graph:
    """Nodes in order of execution, and the constants that they use, all of one dtype.

    A node is named after its result. Its inputs are such names, or numbers and arrays, which become constants.
    """

    def __init__(self, dtype: Any):
        self.onnx: Any = onnx()
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._bytes = 0

    def node(self, kind: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node of an ONNX operator and return the name of its result, ``name`` if given."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        name = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, names, [name], name=f"make_{name}", **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Add a number or array in the graph's dtype and return its name; ints, bools and strings keep their dtype."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = self._cast(array)
        self._bytes += array.nbytes
        if self._bytes > _MAX_BYTES:
            raise InvalidArgumentError(
                f"The model holds more than {_MAX_BYTES:,} bytes of {self.dtype} numbers, the"
                " limit of an ONNX file. Save it with parsgd.save, or pass dtype='float32' for a float64 model."
            )
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _cast(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            rounded = array.astype(self.dtype, order="C")
        if not np.isfinite(rounded).all():
            raise InvalidArgumentError(
                f"The model holds numbers up to {np.abs(array).max():.3g}, which overflow {self.dtype}; pass"
                " dtype='float64'."
            )
        return rounded

    def labels(self, classes: np.ndarray) -> str:
        """Add an array of classes and return its name: strings, ints, bools, or float64."""
        if classes.dtype.kind in "OU":
            if not all(isinstance(label, str) for label in classes.tolist()):
                raise InvalidArgumentError(
                    f"ONNX needs classes of one type, strings or numbers; classes_ has {classes.tolist()[:10]}."
                )
            classes = classes.astype(object)
        else:
            classes = classes.astype({"b": np.bool_, "f": np.float64}.get(classes.dtype.kind, np.int64))
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(classes, name))
        return name

    def output(self, name: str, kind: Any, *shape: Any) -> Any:
        """Declare ``name`` as an output of the graph; ``kind`` is a NumPy dtype."""
        kind = np.dtype(object if np.dtype(kind).kind == "U" else kind)
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.helper.np_dtype_to_tensor_dtype(kind), shape)


def add_label(graph: Graph, classes: np.ndarray, values: str, threshold: float) -> Any:
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


def onnx() -> Any:
    """Import the onnx package; raise MissingDependencyError if it is not installed."""
    try:
        package = importlib.import_module("onnx")
        for part in ("checker", "defs", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("to_onnx needs onnx: pip install 'parsgd[onnx]'") from error
    return package
