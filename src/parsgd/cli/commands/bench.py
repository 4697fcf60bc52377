"""The command ``bench`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.options.common_options import ColumnOptions, DescentOptions, ModelOptions
from parsgd.cli.options.option_types import DATA, PARALLEL, TRAINING, AsJson, Whole, option

EXAMPLES = (
    "parsgd bench --quick",
    "parsgd bench digits --loss log_loss --workers 1,2 --repeats 3",
    "parsgd bench --model sgd-regressor --rows 5000 --features 20 --repeats 3",
)
_GENERATED = "Data made up"


def bench(
    what: ModelOptions,
    sgd_run: DescentOptions,
    columns: ColumnOptions,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="As of parsgd fit; not given: data are made up.")
    ] = None,
    rows: Annotated[Whole, option("Of data made up; not given: 100,000.", panel=_GENERATED)] = None,
    features: Annotated[Whole, option("Columns of data made up; not given: 100.", panel=_GENERATED)] = None,
    classes: Annotated[Whole, option("Of data made up; not given: 2.", panel=_GENERATED)] = None,
    workers: Annotated[str, option("Numbers of workers to compare.", panel=PARALLEL)] = "1,2",
    passes: Annotated[int, option("Passes of every fit.", panel=TRAINING)] = 5,
    repeats: Annotated[int, option("Fits of each, of which the median counts.")] = 5,
    test_fraction: Annotated[float, option("Share of the rows kept for the score.", panel=DATA)] = 0.2,
    quick: Annotated[bool, typer.Option("--quick", help="Three fits of each; a tenth of made-up rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Time scikit-learn and parsgd side by side: the same model, rows, passes and parameters.

    Each makes one fit that does not count, which compiles and warms up; then they take turns, and the table shows the
    median, the fastest and the slowest fit, and the score on rows kept apart.  Both are given the rows as parsgd fit
    would make them: standardized and, if dense, float32.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.options import parsers
    from parsgd.cli.runs import bench_run

    shape = {"rows": rows, "features": features, "classes": classes}
    for name, value in shape.items():
        if value is not None and data is not None:
            raise UsageError(f"--{name} is for data that are made up; leave it out, or leave out {data}.")
        if value is not None and value < (2 if name == "classes" else 1 if name == "features" else 10):
            raise UsageError(f"--{name} {value}: too few; from 10 rows, 1 column and 2 classes on.")
    for name, value in (("passes", passes), ("repeats", repeats)):
        if value < 1:
            raise UsageError(f"--{name} must be 1 or more; got {value}.")
    request = bench_run.BenchRequest(
        data=data,
        what=what,
        parameters=sgd_run.parameters(what),
        seed=sgd_run.seed,
        choices=columns.choices(),
        shape=bench_run.Shape(rows or (10_000 if quick else 100_000), features or 100, classes or 2),
        workers=parsers.counts(workers, "--workers"),
        passes=passes,
        repeats=min(repeats, 3) if quick else repeats,
        test_fraction=test_fraction,
    )
    report = bench_run.run(request, Console(quiet=as_json))
    if as_json:
        print_json(report)
