"""The command ``fit`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parsgd.cli.cli_errors import INTERRUPTED, CliExit
from parsgd.cli.options.common_options import (
    CheckpointOptions,
    ColumnOptions,
    ModelOptions,
    ParallelOptions,
    TestFraction,
    TrainingOptions,
)
from parsgd.cli.options.option_types import TRAINING, AsJson, DataFiles, Integer, Stream, Text, option

# Key of the command line after ``parsgd`` in the context.
ARGUMENTS = "parsgd.arguments"
EXAMPLES = (
    "parsgd fit iris --out iris.parsgd",
    "parsgd fit table.csv --target price --model sgd-regressor --out price.parsgd",
    "parsgd fit digits --hidden 64 --max-iter 20 --workers 2 --out digits.parsgd",
)


def fit(
    context: typer.Context,
    data: DataFiles,
    out: Annotated[Path, option("File for the model.", "--out", "-o", metavar="FILE")],
    model_options: ModelOptions,
    training: TrainingOptions,
    parallel: ParallelOptions,
    checkpoints: CheckpointOptions,
    columns: ColumnOptions,
    max_iter: Annotated[Integer, option("Maximum passes over the data.", panel=TRAINING)] = None,
    tol: Annotated[Text, option("Stop if the loss improves by less than this; none: never.", panel=TRAINING)] = None,
    test_fraction: TestFraction = 0.2,
    page: Annotated[Path | None, option("Also write a report page.", "--report", metavar="FILE.html")] = None,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Fit a model to data, test it on held-out rows, and save it.

    Text columns become columns of 0 and 1, missing values are filled, and numbers are standardized.  The command prints
    these steps, and the model file stores them.  Ctrl-C keeps the best model so far.

    With --checkpoint an interrupted fit can resume: run the same command with --resume.

    With --hidden the classifier or regressor is a network, fitted by adam; change this by --set solver=sgd, --set
    activation=tanh, --set dropout=0.2 and so on.  A network has no --penalty and no --average.  It accepts --loss for
    regression only, and --learning-rate with solver=sgd only.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import fit_run

    request = fit_run.FitRequest(
        data=data[0],
        more=tuple(data[1:]),
        out=out,
        model=model_options.model,
        target=model_options.target,
        parameters=training.parameters(model_options, max_iter=max_iter, tol=tol, **parallel.parameters()),
        round_seconds=parallel.round_seconds,
        test_fraction=test_fraction,
        seed=training.seed,
        encoding_options=columns.encoding_options(),
        checkpoints=checkpoints.request(),
        scheduler=parallel.scheduler,
        stream=stream,
        page=page,
        command=context.meta[ARGUMENTS],
    )
    report = fit_run.run(request, Console(quiet=as_json))
    if as_json:
        print_json(report)
    if report["outcome"] == "INTERRUPTED":
        hint = "" if checkpoints.checkpoint is None else " To continue the fit add --resume."
        raise CliExit(f"Interrupted: the best model so far was saved to {out}.{hint}", INTERRUPTED)
