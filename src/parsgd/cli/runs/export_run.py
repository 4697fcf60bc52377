"""``parsgd export``: write a saved model and its encoding of numbers as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.read_data import list_names
from parsgd.data.columns.column_kinds import Dates, Numeric, Text
from parsgd.data.columns.encoder import Encoder
from parsgd.data.formats.svmlight import SvmlightColumns
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
    if fitted.columns is not None:
        names = columns(fitted.columns)
        if names is not None:
            # stored in the graph's metadata
            estimator.feature_names_in_ = names
        encodes = {} if request.encoded else steps(fitted.columns, request.model)
        # years and large numbers are standardized in double precision
        dtype = dtype or ("float64" if encodes else None)
    graph = to_onnx(estimator, request.out, dtype=dtype, opset=request.opset, **encodes).graph
    outputs = [output.name for output in graph.output]
    width, notes = int(estimator.n_features_in_), described(fitted, request.encoded, encodes)
    console.print(f"{request.out}: an ONNX graph from X (rows, {width}) to {' and '.join(outputs)}", style="bold")
    console.print_notes(notes)
    report = {"model": str(request.model), "out": str(request.out), "opset": request.opset, "features": width}
    return report | {"outputs": outputs, "notes": notes}


def steps(encoding: Encoder | SvmlightColumns, model: Path) -> dict[str, Any]:
    """Return the encoding steps of the graph as arguments of ``to_onnx``."""
    if isinstance(encoding, SvmlightColumns):
        return {} if encoding.scale is None else {"scale": np.array(encoding.scale)}
    texts = [name for kind in encoding.kinds if not isinstance(kind, Numeric) for name in kind.names]
    if texts:
        raise UsageError(
            f"{model}: an ONNX graph cannot encode the text column{'s' * (len(texts) > 1)} {list_names(texts)}."
            f" Use --encoded; the graph then takes the {encoding.n_features:,} encoded columns."
        )
    learned = {"fill": ("fill", np.nan), "mean": ("center", 0.0), "scale": ("divisor", 1.0)}
    found = {name: np.concatenate([_values(kind, *of) for kind in encoding.kinds]) for name, of in learned.items()}
    return found if np.isfinite(found["fill"]).all() else {}


def _values(kind: Numeric, name: str, default: float) -> np.ndarray:
    given = getattr(kind, name)
    return np.full(kind.width, default) if given is None else np.array(given)


def columns(encoding: Encoder | SvmlightColumns) -> np.ndarray | None:
    """Return the names of the encoded columns, or None if they have no names, as for hashed words."""
    if isinstance(encoding, SvmlightColumns) or any(isinstance(kind, Text) for kind in encoding.kinds):
        return None
    return np.array(encoding.feature_names, dtype=object)


def described(fitted: modelfile.ModelFile, encoded: bool, encodes: dict[str, Any]) -> list[str]:
    """Return notes about the input X of the graph."""
    notes = []
    names = getattr(fitted.estimator, "feature_names_in_", None)
    if names is not None:
        notes.append(f"the columns of X: {list_names(list(names), 20)}")
    kinds = getattr(fitted.columns, "kinds", ())
    dates = [name for kind in kinds if isinstance(kind, Dates) for name in kind.names]
    if dates:
        notes.append(f"dates are days since 1970: {list_names(dates, 10)}")
    if "fill" in encodes:
        notes.append("the graph fills missing numbers (NaN) and standardizes, as fit did")
    elif encodes:
        notes.append("the graph divides the columns by their deviations, as fit did")
    elif hasattr(fitted.estimator, "columns_"):
        notes.append("X must be encoded; the graph does not change it")
    return notes
