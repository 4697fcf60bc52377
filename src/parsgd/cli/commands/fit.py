"""``parsgd fit``: read and encode the data, fit, score and save the model, and print a summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parsgd.cli.cli_errors import INTERRUPTED, CliExit, UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import CheckpointOptions, LearnOptions, ParallelOptions
from parsgd.cli.option_values import check_folder
from parsgd.cli.options import AsJson, DataFiles, Stream, TestFraction, option, training_option
from parsgd.errors import Outcome
from parsgd.viz import number_format

if TYPE_CHECKING:
    from parsgd.cli.fitting import FitInputs

# Key of the command line after ``parsgd`` in the context.
ARGUMENTS = "parsgd.arguments"
EXAMPLES = (
    "parsgd fit iris --out iris.parsgd",
    "parsgd fit table.csv --target price --model sgd-regressor --out price.parsgd",
    "parsgd fit digits --hidden 64 --max-iter 20 --workers 2 --out digits.parsgd",
)
# The metadata count the rows of at most this many classes.
_MAX_CLASSES = 1000


def fit(
    context: typer.Context,
    data: DataFiles,
    out: Annotated[Path, option("File for the model.", "--out", "-o", metavar="FILE")],
    learn: LearnOptions,
    parallel: ParallelOptions,
    checkpoints: CheckpointOptions,
    max_iter: Annotated[int | None, training_option("Maximum passes over the data.")] = None,
    tol: Annotated[str | None, training_option("Stop if the loss improves by less than this; none: never.")] = None,
    test_fraction: TestFraction = 0.2,
    tune: Annotated[bool, training_option("Search alpha and eta0 by cross-validation first.", "--tune")] = False,
    page: Annotated[Path | None, option("Also write a report page.", "--report", metavar="FILE.html")] = None,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Fit a model to data, test it on held-out rows, and save it.

    Text columns become columns of 0 and 1, missing values are filled, and numbers are standardized.  The command prints
    these steps, and the model file stores them.  Ctrl-C keeps the best model so far.

    A linear model needs no learning rate: without --learning-rate, --eta0, --average and --batch-size it is fitted with
    --learning-rate auto.

    With --checkpoint an interrupted fit can resume: run the same command with --resume.

    With --tune many values of --alpha and --eta0 are fitted at once, in five folds, and the best ones are used.
    Options that you give are not searched.

    With --hidden the classifier or regressor is a network, fitted by adam; change this by --set solver=sgd, --set
    activation=tanh, --set dropout=0.2 and so on.  A network has no --penalty and no --average.  It accepts --loss for
    regression only, and --learning-rate with solver=sgd only.
    """
    from parsgd.cli import fitting, scoring, tuning
    from parsgd.cli.tables import modelfile
    from parsgd.utils import interrupts
    from parsgd.viz.report import write_report

    console = Console(as_json)
    parameters = learn.parameters(max_iter=max_iter, tol=tol, **parallel.parameters()) | checkpoints.parameters()
    estimator = fitting.make_estimator(learn.model, parameters, parallel)
    if tune:
        tuning.check(estimator)
    else:
        fitting.set_default_rate(estimator, parameters)
    check_out(out)
    if page is not None:
        write_report.check_out(page, "--report", out)
    parts = fitting.prepare(data, learn, estimator, console, test_fraction, stream)
    tuned = tuning.tune(estimator, parameters, parts, console) if tune else {}
    with interrupts.returning() as hold:
        warnings, seconds = fitting.fit(estimator, parts, console, **checkpoints.fit_arguments())
        # before scoring, so that a later error does not lose the model
        modelfile.save(out, estimator, parts.encoding, learn.target)
    try:
        if hold.presses and estimator.outcome_ is not Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        scores = scoring.score(estimator, *parts.scored)
        report = make_report(estimator, parts, out, scores, seconds, warnings) | {"tuned": tuned}
        run = make_metadata(report, parts, context.meta[ARGUMENTS], data, learn.target)
        modelfile.save(out, estimator, parts.encoding, learn.target, run)
        if checkpoints.resume:
            number = report["resumed_from"]
            found = "no checkpoint; started a new fit" if number is None else f"resumed from round {number}"
            console.print(f"checkpoint: {checkpoints.checkpoint}: {found}")
        print_summary(report, estimator.outcome_, console)
        if page is not None:
            write_report.write_report(out, page)
            console.print(f"report:     {page}")
    except KeyboardInterrupt as error:
        raise CliExit(f"Interrupted: the model was saved to {out}, but not scored.", INTERRUPTED) from error
    console.print_json(report)
    if estimator.outcome_ is Outcome.INTERRUPTED:
        hint = "" if checkpoints.checkpoint is None else " To continue the fit add --resume."
        raise CliExit(f"Interrupted: the best model so far was saved to {out}.{hint}", INTERRUPTED)


def check_out(out: Path) -> None:
    """Raise UsageError before the fit if the model file cannot be written."""
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it, such as {out / 'model.parsgd'}.")
    check_folder(out, "--out")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write to {out.parent}; use another folder.")


def make_report(
    estimator: Any, parts: FitInputs, out: Path, scores: dict[str, float], seconds: float, warnings: list[str]
) -> dict[str, Any]:
    """Return the report that ``--json`` prints."""
    fitted = vars(estimator)
    choice = fitted.get("algorithm_")
    # L-BFGS is not in the registry and has no workers
    algorithm = (estimator.solver, "requested") if choice is None else (choice.name, choice.why)
    return {
        "model": str(out),
        "estimator": type(estimator).__name__,
        "rows": parts.n_rows,
        "features": int(estimator.n_features_in_),
        "scored_on": parts.scored_on,
        "scores": scores,
        "seconds": seconds,
        "epochs": int(estimator.n_iter_),
        "outcome": estimator.outcome_.name,
        "resumed_from": fitted.get("resumed_from_"),
        "algorithm": dict(zip(("name", "why"), algorithm, strict=True)),
        "workers": sum_workers(fitted.get("history_", [])),
        "warnings": warnings,
    }


def sum_workers(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return steps, examples and seconds of each worker over the rounds; ``weight`` is the mean merge weight."""
    from parsgd.training.reporting.history_stats import worker_totals

    names = {"worker": "worker", "steps": "steps", "examples": "examples", "seconds": "computing", "weight": "weight"}
    return [{name: vars(one)[of] for name, of in names.items()} for one in worker_totals(history)]


def make_metadata(
    report: dict[str, Any], parts: FitInputs, command: tuple[str, ...], data: list[str], target: str | None
) -> dict[str, Any]:
    """Return the metadata of the run for the model file and its report page."""
    import numpy as np

    from parsgd.viz.report.run_metadata import RunMetadata, here

    classes = {}
    if parts.target is not None and report["scores"].get("accuracy") is not None:
        names, counts = np.unique(parts.target, return_counts=True)
        classes = {str(name): int(n) for name, n in zip(names[:_MAX_CLASSES], counts, strict=False)}
    same = {name: report[name] for name in ("scores", "scored_on", "seconds", "warnings", "tuned")}
    return RunMetadata(
        command=list(command),
        data=", ".join(data),
        target=target,
        rows=report["rows"]["training"],
        test_rows=report["rows"]["test"],
        columns=parts.columns,
        classes=classes,
        encoding=list(parts.notes),
        **same,
        **here(),
    ).notes()


def print_summary(report: dict[str, Any], outcome: Outcome, console: Console) -> None:
    """Print warnings, the table of workers and the summary."""
    for warning in report["warnings"]:
        console.print_note(warning)
    rows = [
        [w["worker"], f"{w['steps']:,}", f"{w['examples']:,}", f"{w['seconds']:.3f}", f"{w['weight']:.3f}"]
        for w in report["workers"]
    ]
    if rows:
        console.print_table("workers", ("worker", "steps", "examples", "seconds", "mean weight"), rows)
    scored_on, n_rows = report["scored_on"], report["rows"]
    scores, time = number_format.scores(report["scores"]), number_format.duration(report["seconds"])
    console.print(f"{scored_on} score: {scores} ({n_rows[scored_on]:,} rows)", style="bold")
    console.print_facts(
        {
            "time": f"{time}, {report['epochs']:,} epochs over {n_rows['training']:,} rows",
            "algorithm": f"{report['algorithm']['name']}: {report['algorithm']['why']}",
            "outcome": outcome.value,
            "saved": report["model"],
        }
    )
