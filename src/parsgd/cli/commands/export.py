"""``parsgd export``: write a saved model and its encoding of numbers as an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_values import check_folder
from parsgd.cli.options import AsJson, ModelFile, option

if TYPE_CHECKING:
    import numpy as np

    from parsgd.cli.tables.modelfile import ModelFile as OpenedFile

EXAMPLES = (
    "parsgd export iris.parsgd --onnx iris.onnx",
    "parsgd export digits.parsgd --onnx digits.onnx --dtype float32",
)


def export(
    model: ModelFile,
    onnx: Annotated[Path, option("The ONNX file to write.", "--onnx", metavar="FILE")],
    encoded: Annotated[bool, option("Export the model without encoding, for encoded rows.", "--encoded")] = False,
    dtype: Annotated[str | None, option("float32 or float64. Default: float64, if the graph encodes.")] = None,
    opset: Annotated[int, option("Version of the ONNX operator set.")] = 17,
    as_json: AsJson = False,
) -> None:
    """Write a saved model as an ONNX graph, for predictions without Python.

    The graph fills missing numbers and standardizes, as in the fit.  It cannot encode text columns.  With --encoded the
    graph contains the model only and takes encoded columns.
    """
    from parsgd.cli.tables import modelfile
    from parsgd.model_io.onnx_graph import onnx as load_onnx
    from parsgd.model_io.to_onnx import to_onnx

    console = Console(as_json)
    check_folder(onnx, "--onnx")
    load_onnx()  # raises MissingDependencyError before the model is read
    fitted = modelfile.load(model)
    estimator = fitted.estimator
    names, steps, notes = describe_columns(fitted, model, encoded)
    if names is not None:
        # stored in the graph's metadata
        estimator.feature_names_in_ = names
    # years and large numbers are standardized in double precision
    dtype = dtype or ("float64" if steps else None)
    graph = to_onnx(estimator, onnx, dtype=dtype, opset=opset, **steps).graph
    outputs = [output.name for output in graph.output]
    width = int(estimator.n_features_in_)
    console.print(f"{onnx}: an ONNX graph from X (rows, {width}) to {' and '.join(outputs)}", style="bold")
    console.print_notes(notes)
    report = {"model": str(model), "out": str(onnx), "opset": opset, "features": width}
    console.print_json(report | {"outputs": outputs, "notes": notes})


def describe_columns(
    fitted: OpenedFile, path: Path, encoded: bool
) -> tuple[np.ndarray | None, dict[str, np.ndarray], list[str]]:
    """Return the names of the columns of X, the encoding steps as arguments of ``to_onnx``, and notes about X.

    The names are None if the encoded columns have no names, as hashed words.
    """
    import numpy as np

    from parsgd.data.columns.column_kinds import Dates, Numeric, Text
    from parsgd.data.columns.column_specs import listed
    from parsgd.data.columns.encoder import Encoder

    columns, names, steps, notes = fitted.columns, None, {}, []
    if isinstance(columns, Encoder):
        if not any(isinstance(kind, Text) for kind in columns.kinds):
            names = np.array(columns.feature_names, dtype=object)
            notes.append(f"the columns of X: {listed(names.tolist(), 20)}")
        texts = [name for kind in columns.kinds if not isinstance(kind, Numeric) for name in kind.names]
        if texts and not encoded:
            raise UsageError(
                f"{path}: an ONNX graph cannot encode the text column{'s' * (len(texts) > 1)} {listed(texts)}."
                f" Use --encoded; the graph then takes the {columns.n_features:,} encoded columns."
            )
        learned_steps = {"fill": ("fill", np.nan), "mean": ("center", 0.0), "scale": ("divisor", 1.0)}
        for step, (learned, default) in ({} if encoded else learned_steps).items():
            values = ((getattr(kind, learned), kind.width) for kind in columns.kinds)
            steps[step] = np.concatenate([np.full(width, default) if one is None else one for one, width in values])
        if steps and not np.isfinite(steps["fill"]).all():
            steps = {}
        dates = [name for kind in columns.kinds if isinstance(kind, Dates) for name in kind.names]
        if dates:
            notes.append(f"dates are days since 1970: {listed(dates, 10)}")
    elif columns is not None and columns.scale is not None and not encoded:
        steps = {"scale": np.array(columns.scale)}
    if "fill" in steps:
        notes.append("the graph fills missing numbers (NaN) and standardizes, as fit did")
    elif steps:
        notes.append("the graph divides the columns by their deviations, as fit did")
    elif "columns_" in vars(fitted.estimator):
        notes.append("X must be encoded; the graph does not change it")
    return names, steps, notes
