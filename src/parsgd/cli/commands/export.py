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
        bool, typer.Option("--encoded", help="The model alone, for rows that are encoded already.")
    ] = False,
    dtype: Annotated[Text, option("float32 or float64; not given: float64, if the graph encodes.")] = None,
    opset: Annotated[int, option("Version of ONNX's operators.")] = 17,
    as_json: AsJson = False,
) -> None:
    """Write a saved model as an ONNX graph, which predicts the same where there is no Python.

    Gaps in columns of numbers are filled and numbers are standardized in the graph, as when the model was fitted.
    Columns of text are not: with --encoded the graph is that of the model alone, and takes the columns that all of them
    became.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import export_run

    report = export_run.run(export_run.ExportRequest(model, onnx, encoded, dtype, opset), Console(quiet=as_json))
    if as_json:
        print_json(report)
