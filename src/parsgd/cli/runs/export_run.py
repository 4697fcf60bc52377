"""``parsgd export``: write a saved model and its encoding of numbers as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.encoding import Encoding, MatrixEncoding, SparseEncoding
from parsgd.cli.tables.read_data import list_names
from parsgd.model_io.onnx_graph import onnx
from parsgd.model_io.to_onnx import to_onnx


@dataclass(frozen=True)
class ExportRequest:
    """The options of ``export``."""

    model: Path
    out: Path
    encoded: bool = False
    dtype: str | None = None
    opset: int = 17


def run(request: ExportRequest, console: Console) -> dict[str, Any]:
    """Write the graph, print its input and outputs, and return the report that ``--json`` prints."""
    if not request.out.absolute().parent.is_dir():
        folder = request.out.parent
        raise UsageError(f"--onnx {request.out}: the folder {folder} does not exist; create it: mkdir -p {folder}")
    onnx()  # raises MissingDependencyError before the model is read
    fitted = modelfile.load(request.model)
    estimator, dtype, encodes = fitted.estimator, request.dtype, {}
    if fitted.encoding is not None:
        names = columns(fitted.encoding)
        if names is not None:
            # stored in the graph's metadata
            estimator.feature_names_in_ = names
        encodes = {} if request.encoded else steps(fitted.encoding, request.model)
        # double precision, for years and other large numbers
        dtype = dtype or ("float64" if encodes else None)
    graph = to_onnx(estimator, request.out, dtype=dtype, opset=request.opset, **encodes).graph
    outputs = [output.name for output in graph.output]
    width, notes = int(estimator.n_features_in_), described(fitted, request.encoded, encodes)
    console.say(f"{request.out}: an ONNX graph from X (rows, {width}) to {' and '.join(outputs)}", style="bold")
    console.points(notes)
    report = {"model": str(request.model), "out": str(request.out), "opset": request.opset, "features": width}
    return report | {"outputs": outputs, "notes": notes}


def steps(encoding: Encoding, model: Path) -> dict[str, Any]:
    """Return the encoding steps of the graph as arguments of ``to_onnx``."""
    if isinstance(encoding, SparseEncoding):
        return {} if encoding.scale is None else {"scale": encoding.scale}
    texts = [] if isinstance(encoding, MatrixEncoding) else [b.name for b in (*encoding.categories, *encoding.words)]
    if texts:
        raise UsageError(
            f"{model}: an ONNX graph cannot encode the text column{'s' * (len(texts) > 1)} {list_names(texts)}."
            f" Use --encoded; the graph then takes the {encoding.width:,} encoded columns."
        )
    numbers = encoding.numbers
    return {"fill": numbers.fill, "mean": numbers.mean, "scale": numbers.scale}


def columns(encoding: Encoding) -> np.ndarray | None:
    """Return the names of the encoded columns, or None if they have no names, as for hashed words."""
    if isinstance(encoding, SparseEncoding | MatrixEncoding) or encoding.words:
        return None
    names = [*encoding.numbers.names, *(name for block in encoding.categories for name in block.outputs)]
    return np.array(names, dtype=object)


def described(fitted: modelfile.ModelFile, encoded: bool, encodes: dict[str, Any]) -> list[str]:
    """Return notes about the input X of the graph."""
    notes = []
    names = getattr(fitted.estimator, "feature_names_in_", None)
    if names is not None:
        notes.append(f"the columns of X: {list_names(list(names), 20)}")
    dates = getattr(getattr(fitted.encoding, "numbers", None), "dates", [])
    if dates:
        notes.append(f"dates are days since 1970: {list_names(dates, 10)}")
    if "fill" in encodes:
        notes.append("the graph fills missing numbers (NaN) and standardizes, as fit did")
    elif encodes:
        notes.append("the graph divides the columns by their deviations, as fit did")
    elif fitted.encoding is not None and encoded or hasattr(fitted.estimator, "columns_"):
        notes.append("X must be encoded; the graph does not change it")
    return notes
