"""The command ``fit`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parsgd.cli.cli_errors import INTERRUPTED, CliExit
from parsgd.cli.options.common_options import (
    ColumnOptions,
    DescentOptions,
    KeepingOptions,
    ModelOptions,
    ParallelOptions,
    TestFraction,
)
from parsgd.cli.options.option_types import TRAINING, AsJson, DataFiles, Stream, Text, Whole, option

# Where the context holds what was typed after ``parsgd``.
TYPED = "parsgd.typed"
EXAMPLES = (
    "parsgd fit iris --out iris.parsgd",
    "parsgd fit table.csv --target price --model sgd-regressor --out price.parsgd",
    "parsgd fit digits --hidden 64 --max-iter 20 --workers 2 --out digits.parsgd",
)


def fit(
    context: typer.Context,
    data: DataFiles,
    out: Annotated[Path, option("Where to save the model.", "--out", "-o", metavar="FILE")],
    what: ModelOptions,
    sgd_run: DescentOptions,
    parallel: ParallelOptions,
    kept: KeepingOptions,
    columns: ColumnOptions,
    max_iter: Annotated[Whole, option("Most passes over the data.", panel=TRAINING)] = None,
    tol: Annotated[Text, option("Stop when the loss falls by less than this; none: never.", panel=TRAINING)] = None,
    test_fraction: TestFraction = 0.2,
    page: Annotated[Path | None, option("Write a page about the run, too.", "--report", metavar="FILE.html")] = None,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Fit a model to data, test it on rows kept apart, and save it.

    Text columns become columns of 0 and 1, gaps are filled, numbers are standardized; the command says what it did, and
    the model file remembers it.  Ctrl-C keeps the best model so far.

    With --checkpoint the fit can go on after whatever ended it: start the same command again with --resume.

    With --hidden the classifier or regressor is a network, fitted by adam; --set solver=sgd, activation=tanh,
    dropout=0.2 and so on change how.  It has --loss as a regressor only, --learning-rate with solver=sgd only, and
    neither --penalty nor --average.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import fit_run

    request = fit_run.FitRequest(
        data=data[0],
        more=tuple(data[1:]),
        out=out,
        model=what.model,
        target=what.target,
        parameters=sgd_run.parameters(what, max_iter=max_iter, tol=tol, **parallel.parameters()),
        round_seconds=parallel.round_seconds,
        test_fraction=test_fraction,
        seed=sgd_run.seed,
        choices=columns.choices(),
        kept=kept.request(),
        scheduler=parallel.scheduler,
        stream=stream,
        page=page,
        command=context.meta[TYPED],
    )
    report = fit_run.run(request, Console(quiet=as_json))
    if as_json:
        print_json(report)
    if report["outcome"] == "INTERRUPTED":
        further = "" if kept.checkpoint is None else " To go on with the fit add --resume."
        raise CliExit(f"Interrupted: the best model so far was kept, and saved to {out}.{further}", INTERRUPTED)
