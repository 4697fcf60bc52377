"""A graph of ONNX nodes that is being written: each node is a call that gives the name of its result."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError, MissingDependencyError

# A protobuf message, which an ONNX file is, holds less than this; with some room for names.
_MOST_BYTES = 2**31 - 2**20


class Graph:
    """Nodes in the order in which they run, and the numbers that they use, all of one dtype.

    A node's name is that of its result; its inputs are such names, or numbers and arrays, which become constants.
    """

    def __init__(self, dtype: Any):
        self.onnx = onnx()
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._bytes = 0

    def node(self, kind: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node of an operator of ONNX; its result's name, which is ``name`` if it is given."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        name = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, names, [name], name=f"make_{name}", **attributes))
        return name

    def constant(self, value: Any) -> str:
        """The name of a number or an array in the graph's dtype; of whole numbers, truths and texts in their own."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = self._rounded(array)
        self._bytes += array.nbytes
        if self._bytes > _MOST_BYTES:
            raise InvalidArgumentError(
                f"The model holds more than {_MOST_BYTES:,} bytes of {self.dtype} numbers, and an ONNX file holds no"
                " more. Save it with parsgd.save, or give dtype='float32' if that is not what it has."
            )
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _rounded(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            rounded = array.astype(self.dtype, order="C")
        if not np.isfinite(rounded).all():
            raise InvalidArgumentError(
                f"The model holds numbers up to {np.abs(array).max():.3g}, which {self.dtype} does not reach; give"
                " dtype='float64'."
            )
        return rounded

    def labels(self, classes: np.ndarray) -> str:
        """The name of an array of classes: texts, whole numbers, truths, or numbers in double precision."""
        if classes.dtype.kind in "OU":
            if not all(isinstance(label, str) for label in classes.tolist()):
                raise InvalidArgumentError(
                    f"ONNX knows classes of one type, texts or numbers; classes_ has {classes.tolist()[:10]}."
                )
            classes = classes.astype(object)
        else:
            classes = classes.astype({"b": np.bool_, "f": np.float64}.get(classes.dtype.kind, np.int64))
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(classes, name))
        return name

    def output(self, name: str, kind: Any, *shape: Any) -> Any:
        """What the graph gives under ``name``; ``kind`` is a NumPy dtype."""
        kind = np.dtype(object if np.dtype(kind).kind == "U" else kind)
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.helper.np_dtype_to_tensor_dtype(kind), shape)


def onnx() -> Any:
    """The package of that name; MissingDependencyError if there is none."""
    try:
        package = importlib.import_module("onnx")
        for part in ("checker", "defs", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("to_onnx needs onnx: pip install 'parsgd[onnx]'") from error
    return package
