"""``to_onnx``: export of a fitted estimator as an ONNX graph, which runs without Python."""

from __future__ import annotations

import json
import os
import sys
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import InvalidArgumentError, choose
from parsgd.estimators import kinds
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.model_io.onnx_graph import Graph, onnx
from parsgd.utils.atomic_io import write_atomically

_OLDEST_OPSET, _OPSET = 13, 17


def to_onnx(
    estimator: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    dtype: str | None = None,
    opset: int = _OPSET,
    fill: Any = None,
    mean: Any = None,
    scale: Any = None,
) -> Any:
    """Export a fitted estimator as an ONNX model with the same predictions.

    The graph has one input, ``X (rows, n_features)``, and these outputs:

    ================================  ==========================================================================
    SGDClassifier, MLPClassifier      ``label``; ``probabilities (rows, n_classes)``, or for losses without them
                                      ``scores``, the values of ``decision_function``
    SGDRegressor, MLPRegressor        ``variable``, the values of ``predict``
    SGDOneClassSVM                    ``label`` (1 or -1), ``scores``
    ================================  ==========================================================================

    Parameters
    ----------
    estimator : fitted estimator of parsgd
    path : path, optional
        File to write as well, atomically.
    dtype : {"float32", "float64"}, optional
        Dtype of input, arithmetic and output. None: as the estimator was fitted.
    opset : int, default=17
        Version of ONNX's operators, at least 13.
    fill, mean, scale : array-like of shape (n_features,), optional
        Preprocessing: a missing ``x`` (NaN) becomes ``fill``, and then ``(x - mean) / scale``, as with scikit-learn's
        ``SimpleImputer.statistics_``, ``StandardScaler.mean_`` and ``StandardScaler.scale_``.

    Returns
    -------
    onnx.ModelProto
        Its metadata contain parsgd's version, the estimator, its loss, classes and columns.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the estimator is not one of parsgd's, an argument is invalid, ONNX lacks the type of the classes, or the
        model exceeds 2 GiB.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    parsgd.errors.MissingDependencyError
        If the package onnx is not installed: ``pip install 'parsgd[onnx]'``.

    Examples
    --------
    >>> from parsgd import SGDClassifier, to_onnx
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SGDClassifier("softmax", max_iter=5, tol=None, random_state=0).fit(X, y)
    >>> graph = to_onnx(model).graph  # doctest: +SKIP
    >>> [output.name for output in graph.output]  # doctest: +SKIP
    ['label', 'probabilities']
    """
    # no lookup of base classes: a subclass may override prediction
    name = type(estimator).__name__
    if name not in kinds.estimator_names() or type(estimator) is not kinds.estimator_class(name):
        known = ", ".join(kinds.estimator_names())
        raise InvalidArgumentError(f"to_onnx takes a fitted estimator of parsgd: {known}. Got {type(estimator)!r}.")
    estimator = snapshot(estimator)
    check_is_fitted(estimator)
    kind = kinds.kind_of(estimator)
    dtype = kind.dtype(estimator).name if dtype is None else choose(dtype, ("float32", "float64"), "dtype", "to_onnx")
    columns = {
        key: _column(value, key, estimator.n_features_in_)
        for key, value in (("fill", fill), ("mean", mean), ("scale", scale))
    }
    _check_opset(opset)
    graph = Graph(dtype)
    outputs = kind.add_to_onnx(graph, estimator, _add_preprocessing(graph, "X", **columns))
    model = _model(graph, graph.output("X", dtype, "rows", estimator.n_features_in_), outputs, opset)
    graph.onnx.helper.set_model_props(model, _metadata(estimator))
    graph.onnx.checker.check_model(model)
    if path is not None:
        with write_atomically(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    return model


def _model(graph: Graph, x: Any, outputs: list[Any], opset: int) -> Any:
    helper = graph.onnx.helper
    versions = [helper.make_opsetid("", int(opset))]
    return helper.make_model(
        helper.make_graph(graph.nodes, "parsgd", [x], outputs, graph.constants),
        opset_imports=versions,
        # the oldest file version with these operators, for older readers
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="parsgd",
        producer_version=_version(),
    )


def _add_preprocessing(graph: Graph, x: str, fill: Any, mean: Any, scale: Any) -> str:
    if fill is not None:
        x = graph.node("Where", graph.node("IsNaN", x), fill, x)
    if mean is not None:
        x = graph.node("Sub", x, mean)
    return x if scale is None else graph.node("Div", x, scale)


def _column(value: Any, name: str, n_features: int) -> np.ndarray | None:
    """Validate one number per column; return None for None."""
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != (n_features,) or not np.isfinite(array).all() or name == "scale" and not array.all():
        zero = " other than 0" if name == "scale" else ""
        raise InvalidArgumentError(
            f"The {name!r} parameter of to_onnx must be {n_features} finite numbers{zero}, one for each column. Got"
            f" {value!r} instead."
        )
    return array


def _check_opset(opset: Any) -> None:
    newest = onnx().defs.onnx_opset_version()
    if not isinstance(opset, Integral) or isinstance(opset, bool) or not _OLDEST_OPSET <= opset <= newest:
        raise InvalidArgumentError(
            f"The 'opset' parameter of to_onnx must be an int from {_OLDEST_OPSET} to {newest}, the newest of the"
            f" installed onnx. Got {opset!r} instead."
        )


def _version() -> str:
    # read from sys.modules: an import of the package, which is above this layer, would be a cycle
    return sys.modules["parsgd"].__version__


def _metadata(estimator: Any) -> dict[str, str]:
    """Return the metadata, strings by name."""
    notes = {"parsgd.version": _version(), "parsgd.estimator": type(estimator).__name__}
    loss = getattr(estimator, "loss", None)
    if loss is not None:
        notes["parsgd.loss"] = loss if isinstance(loss, str) else type(loss).__name__
    for key in ("classes_", "feature_names_in_"):
        if hasattr(estimator, key):
            notes[f"parsgd.{key.rstrip('_')}"] = json.dumps(getattr(estimator, key).tolist(), ensure_ascii=False)
    return notes
