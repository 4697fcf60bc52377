"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parsgd.cli.export import export
from parsgd.cli.mistakes import INTERRUPTED, Ended, explained
from parsgd.cli.options import (
    DATA,
    KEEPING,
    MODELS,
    PARALLEL,
    TRAINING,
    AsJson,
    DataFiles,
    Maybe,
    MaybePath,
    ModelFile,
    Number,
    Several,
    Stream,
    Text,
    Whole,
    assignments,
    option,
    parsed,
)
from parsgd.cli.plan import plan
from parsgd.cli.simulate import simulate

TYPED = "parsgd.typed"


class Explaining(TyperGroup):
    """Ends every command with a message on standard error and an exit code instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # a report tells what was typed
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with explained():
                return super().invoke(ctx)
        except Ended as end:
            typer.echo(f"{end}" if end.code == INTERRUPTED else f"Error: {end}", err=True)
            raise typer.Exit(end.code) from end


app = typer.Typer(
    cls=Explaining,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train linear models and networks by parallel stochastic gradient descent, and use them.",
)

@app.command()
def fit(
    context: typer.Context,
    data: DataFiles,
    out: Annotated[Path, option("Where to save the model.", "--out", "-o", metavar="FILE")],
    model: Annotated[str, option(MODELS)] = "sgd-classifier",
    hidden: Annotated[Text, option("Units of the hidden layers, 256,128: a network.", metavar="SIZES")] = None,
    target: Annotated[Text, option("Column to predict.", metavar="COLUMN")] = None,
    loss: Annotated[Text, option("hinge, log_loss, softmax, squared_error, huber, ...", panel=TRAINING)] = None,
    penalty: Annotated[Text, option("l2, l1, elasticnet or none.", panel=TRAINING)] = None,
    alpha: Annotated[Number, option("Strength of the penalty.", panel=TRAINING)] = None,
    learning_rate: Annotated[Text, option("optimal, constant, invscaling or adaptive.", panel=TRAINING)] = None,
    eta0: Annotated[Number, option("First learning rate.", panel=TRAINING)] = None,
    max_iter: Annotated[Whole, option("Most passes over the data.", panel=TRAINING)] = None,
    tol: Annotated[Text, option("Stop when the loss falls by less than this; none: never.", panel=TRAINING)] = None,
    batch_size: Annotated[Whole, option("Rows a step; not given: 1, of networks 200.", panel=TRAINING)] = None,
    average: Annotated[Text, option("Average the iterates: true, or from which step on.", panel=TRAINING)] = None,
    more: Annotated[Several, option("Another parameter, NAME=VALUE; repeatable.", "--set", panel=TRAINING)] = None,
    seed: Annotated[int, option("Of shuffling and of splitting.", panel=TRAINING)] = 0,
    workers: Annotated[Whole, option("1: serial; -1: all cores; not given: as many as pay.", panel=PARALLEL)] = None,
    algorithm: Annotated[Text, option("auto, local, weighted, minibatch, elastic, ...", panel=PARALLEL)] = None,
    engine: Annotated[Text, option("auto, serial, threads, processes or dask.", panel=PARALLEL)] = None,
    scheduler: Annotated[Text, option("Address of a Dask scheduler, or the .json file that it writes; for --engine"
                                      " dask.", metavar="ADDRESS", panel=PARALLEL)] = None,
    round_seconds: Annotated[Number, option("Length of a round of work.", panel=PARALLEL)] = None,
    checkpoint: Annotated[MaybePath, option("Folder to keep checkpoints in.", metavar="DIR", panel=KEEPING)] = None,
    resume: Annotated[bool, option("Go on from the last checkpoint, if there is one.", "--resume",
                                   panel=KEEPING)] = False,
    checkpoint_seconds: Annotated[Number, option("Seconds from one to the next; 0: every round; not given: 10.",
                                                 metavar="S", panel=KEEPING)] = None,
    test_fraction: Annotated[float, option("Share of the rows kept for the test score.", panel=DATA)] = 0.2,
    standardize: Annotated[Maybe, option("Mean 0, deviation 1; not given: dense data only.", panel=DATA)] = None,
    categorical: Annotated[Several, option("Take this column for categories; repeatable.", panel=DATA)] = None,
    drop: Annotated[Several, option("Leave this column out; repeatable.", panel=DATA)] = None,
    max_categories: Annotated[int, option("Most categories of a column; rarer ones: (other).", panel=DATA)] = 1000,
    stream: Stream = None,
    page: Annotated[Path | None, option("Write a page about the run, too.", "--report", metavar="FILE.html")] = None,
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
    from parsgd.cli import keeping, networks, training
    from parsgd.cli.encoding import Choices
    from parsgd.cli.speaking import Voice, print_json

    given = {
        "loss": loss, "penalty": penalty, "alpha": alpha, "learning_rate": learning_rate, "eta0": eta0,
        "max_iter": max_iter, "tol": tol, "batch_size": batch_size, "average": average, "n_jobs": workers,
        "algorithm": algorithm, "engine": engine,
    }  # fmt: skip
    parameters = {name: parsed(value) for name, value in given.items() if value is not None}
    if hidden is not None:
        parameters["hidden_layer_sizes"] = networks.layers(hidden)
    choices = Choices(tuple(categorical or ()), tuple(drop or ()), standardize, max_categories)
    kept = keeping.Request(checkpoint, resume, checkpoint_seconds)
    request = training.Request(
        data[0], out, model, target, parameters | assignments(more or ()), round_seconds, test_fraction, seed, choices,
        kept, scheduler, tuple(data[1:]), stream, page, context.meta[TYPED],
    )  # fmt: skip
    report = training.run(request, Voice(quiet=as_json))
    if as_json:
        print_json(report)
    if report["outcome"] == "INTERRUPTED":
        further = "" if checkpoint is None else " To go on with the fit add --resume."
        raise Ended(f"Interrupted: the best model so far was kept, and saved to {out}.{further}", INTERRUPTED)


@app.command()
def predict(
    model: ModelFile,
    data: DataFiles,
    out: Annotated[str, option("File to write: .csv, .parquet, .npz; - for CSV here.", "--out", "-o", metavar="FILE")],
    stream: Stream = None,
) -> None:
    """Predict a target for every row of the data."""
    from parsgd.cli import predicting
    from parsgd.cli.speaking import Voice

    predicting.predict(model, data, out, Voice(to_stderr=out == "-"), stream)


@app.command()
def evaluate(
    model: ModelFile,
    data: DataFiles,
    target: Annotated[Text, option("Column with the true values, if not that of the fit.", metavar="COLUMN")] = None,
    stream: Stream = None,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on data that have the true values."""
    from parsgd.cli import predicting
    from parsgd.cli.speaking import Voice, print_json

    report = predicting.evaluate(model, data, target, Voice(quiet=as_json), stream)
    if as_json:
        print_json(report)


@app.command()
def report(
    model: ModelFile,
    out: Annotated[Path, option("The page to write.", "--out", "-o", metavar="FILE.html")],
) -> None:
    """Write a page about how a model was trained: its score, who did the work, where the time went.

    It is one file that loads nothing, for a phone, a desk or paper.
    """
    from parsgd.cli import reporting
    from parsgd.cli.speaking import Voice

    reporting.write(model, out)
    Voice().say(f"saved:      {out}")


app.command()(simulate)
app.command()(plan)
app.command()(export)


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """Train linear models and networks by parallel stochastic gradient descent, and use them."""
    if version:
        import parsgd

        typer.echo(f"parsgd {parsgd.__version__}")
        raise typer.Exit()
