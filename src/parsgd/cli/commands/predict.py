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
    out: Annotated[str, option("File to write: .csv, .parquet, .npz; - for CSV here.", "--out", "-o", metavar="FILE")],
    stream: Stream = None,
    header: Header = None,
    decimal: Decimal = ".",
    zero_based: ZeroBased = None,
    as_json: AsJson = False,
) -> None:
    """Predict a target for every row of the data.

    Data may come from a pipe, as CSV, and predictions go into one: - stands for both.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import predict_run

    if as_json and out == "-":
        raise UsageError("--json: standard output takes the predictions (--out -) or the JSON, not both; name a file.")
    options = file_options(header, decimal, zero_based)
    report = predict_run.predict(model, data, out, Console(quiet=as_json, to_stderr=out == "-"), stream, options)
    if as_json:
        print_json(report)


def evaluate(
    model: ModelFile,
    data: DataFiles,
    target: Annotated[Text, option("Column with the true values, if not that of the fit.", metavar="COLUMN")] = None,
    stream: Stream = None,
    header: Header = None,
    decimal: Decimal = ".",
    zero_based: ZeroBased = None,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on data that have the true values."""
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import predict_run

    options = file_options(header, decimal, zero_based)
    report = predict_run.evaluate(model, data, target, Console(quiet=as_json), stream, options)
    if as_json:
        print_json(report)
