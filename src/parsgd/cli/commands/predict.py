"""The commands ``predict`` and ``evaluate`` and their options."""

from __future__ import annotations

from typing import Annotated

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.options.common_options import Decimal, Header, ZeroBased, file_options
from parsgd.cli.options.option_types import AsJson, DataFiles, ModelFile, Stream, Text, option

PREDICT_EXAMPLES = (
    "parsgd predict iris.parsgd iris --out predictions.csv",
    "cat new.csv | parsgd predict price.parsgd - --out - | head -3",
)
EVALUATE_EXAMPLES = (
    "parsgd evaluate iris.parsgd iris",
    "parsgd evaluate price.parsgd table.csv --json",
)


def predict(
    model: ModelFile,
    data: DataFiles,
    out: Annotated[str, option("A .csv, .parquet or .npz file; - for CSV on stdout.", "--out", "-o", metavar="FILE")],
    stream: Stream = None,
    header: Header = None,
    decimal: Decimal = ".",
    zero_based: ZeroBased = None,
    as_json: AsJson = False,
) -> None:
    """Predict a target for every row of the data.

    As DATA and as --out, - stands for CSV on standard input and standard output.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import predict_run

    if as_json and out == "-":
        raise UsageError("--json and --out - both write to standard output; give --out a file.")
    options = file_options(header, decimal, zero_based)
    report = predict_run.predict(model, data, out, Console(quiet=as_json, to_stderr=out == "-"), stream, options)
    if as_json:
        print_json(report)


def evaluate(
    model: ModelFile,
    data: DataFiles,
    target: Annotated[Text, option("Column of true values. Default: the target of the fit.", metavar="COLUMN")] = None,
    stream: Stream = None,
    header: Header = None,
    decimal: Decimal = ".",
    zero_based: ZeroBased = None,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on data with true values."""
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import predict_run

    options = file_options(header, decimal, zero_based)
    report = predict_run.evaluate(model, data, target, Console(quiet=as_json), stream, options)
    if as_json:
        print_json(report)
