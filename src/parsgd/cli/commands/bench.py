"""The command ``bench`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.options.common_options import ColumnOptions, ModelOptions, TrainingOptions
from parsgd.cli.options.option_types import DATA, PARALLEL, TRAINING, AsJson, Integer, option

EXAMPLES = (
    "parsgd bench --quick",
    "parsgd bench digits --loss log_loss --workers 1,2 --repeats 3",
    "parsgd bench --model sgd-regressor --rows 5000 --features 20 --repeats 3",
)
_GENERATED = "Generated data"


def bench(
    model_options: ModelOptions,
    training: TrainingOptions,
    columns: ColumnOptions,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="As in parsgd fit. Default: generated data.")
    ] = None,
    rows: Annotated[Integer, option("Rows to generate. Default: 100,000.", panel=_GENERATED)] = None,
    features: Annotated[Integer, option("Columns to generate. Default: 100.", panel=_GENERATED)] = None,
    classes: Annotated[Integer, option("Classes to generate. Default: 2.", panel=_GENERATED)] = None,
    workers: Annotated[str, option("Worker counts to compare.", panel=PARALLEL)] = "1,2",
    passes: Annotated[int, option("Passes over the data in each fit.", panel=TRAINING)] = 5,
    repeats: Annotated[int, option("Fits per library and worker count; the table has the median.")] = 5,
    test_fraction: Annotated[float, option("Fraction of the rows held out for the score.", panel=DATA)] = 0.2,
    quick: Annotated[bool, typer.Option("--quick", help="At most 3 fits each; a tenth of the generated rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Time scikit-learn and parsgd with the same model, rows, passes and parameters.

    The first fit of each is a warm-up, which compiles the kernels.  Then the libraries alternate.  The table shows the
    median, the fastest and the slowest fit, and the score on held-out rows.  Both libraries use the encoded rows of
    parsgd fit: standardized and, if dense, float32.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.options import parsers
    from parsgd.cli.runs import bench_run

    shape = {"rows": rows, "features": features, "classes": classes}
    for name, value in shape.items():
        if value is not None and data is not None:
            raise UsageError(f"--{name} is for generated data; remove it or {data}.")
        if value is not None and value < (2 if name == "classes" else 1 if name == "features" else 10):
            raise UsageError(f"--{name} {value}: too few; use at least 10 rows, 1 column and 2 classes.")
    for name, value in (("passes", passes), ("repeats", repeats)):
        if value < 1:
            raise UsageError(f"--{name} must be 1 or more; got {value}.")
    request = bench_run.BenchRequest(
        data=data,
        model_options=model_options,
        parameters=training.parameters(model_options),
        seed=training.seed,
        encoding_options=columns.encoding_options(),
        shape=bench_run.Shape(rows or (10_000 if quick else 100_000), features or 100, classes or 2),
        workers=parsers.counts(workers, "--workers"),
        passes=passes,
        repeats=min(repeats, 3) if quick else repeats,
        test_fraction=test_fraction,
    )
    report = bench_run.run(request, Console(quiet=as_json))
    if as_json:
        print_json(report)
