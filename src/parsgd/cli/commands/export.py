"""The command ``export`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parsgd.cli.options.option_types import AsJson, ModelFile, Text, option

EXAMPLES = (
    "parsgd export iris.parsgd --onnx iris.onnx",
    "parsgd export digits.parsgd --onnx digits.onnx --dtype float32",
)


def export(
    model: ModelFile,
    onnx: Annotated[Path, option("The ONNX file to write.", "--onnx", metavar="FILE")],
    encoded: Annotated[
        bool, typer.Option("--encoded", help="Export the model without encoding, for encoded rows.")
    ] = False,
    dtype: Annotated[Text, option("float32 or float64. Default: float64, if the graph encodes.")] = None,
    opset: Annotated[int, option("Version of the ONNX operator set.")] = 17,
    as_json: AsJson = False,
) -> None:
    """Write a saved model as an ONNX graph, for predictions without Python.

    The graph fills missing numbers and standardizes, as in the fit.  It cannot encode text columns.  With --encoded the
    graph contains the model only and takes encoded columns.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import export_run

    report = export_run.run(export_run.ExportRequest(model, onnx, encoded, dtype, opset), Console(quiet=as_json))
    if as_json:
        print_json(report)
