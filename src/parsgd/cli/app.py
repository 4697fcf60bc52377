"""The commands and their options."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parsgd.cli.mistakes import INTERRUPTED, Ended, Mistake, explained


class Explaining(TyperGroup):
    """Ends every command with a message on standard error and an exit code instead of a traceback."""

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

_FORMATS = "A .csv, .parquet, .npz or .svm file, or digits, breast-cancer, diabetes, iris."
DataFile = Annotated[str, typer.Argument(metavar="DATA", help=_FORMATS)]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, made by parsgd fit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON, and nothing else.")]


def _option(help: str, *names: str, metavar: str | None = None, panel: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel)


_MODELS = "sgd-classifier, sgd-regressor, sgd-one-class-svm, mlp-classifier or mlp-regressor."
_TRAINING, _PARALLEL, _DATA = "Descent", "Parallel work", "Rows and columns"
Text, Number, Whole, Maybe, Several = str | None, float | None, int | None, bool | None, list[str] | None


@app.command()
def fit(
    data: DataFile,
    out: Annotated[Path, _option("Where to save the model.", "--out", "-o", metavar="FILE")],
    model: Annotated[str, _option(_MODELS)] = "sgd-classifier",
    hidden: Annotated[Text, _option("Units of the hidden layers, 256,128: a network.", metavar="SIZES")] = None,
    target: Annotated[Text, _option("Column to predict.", metavar="COLUMN")] = None,
    loss: Annotated[Text, _option("hinge, log_loss, softmax, squared_error, huber, ...", panel=_TRAINING)] = None,
    penalty: Annotated[Text, _option("l2, l1, elasticnet or none.", panel=_TRAINING)] = None,
    alpha: Annotated[Number, _option("Strength of the penalty.", panel=_TRAINING)] = None,
    learning_rate: Annotated[Text, _option("optimal, constant, invscaling or adaptive.", panel=_TRAINING)] = None,
    eta0: Annotated[Number, _option("First learning rate.", panel=_TRAINING)] = None,
    max_iter: Annotated[Whole, _option("Most passes over the data.", panel=_TRAINING)] = None,
    tol: Annotated[Text, _option("Stop when the loss falls by less than this; none: never.", panel=_TRAINING)] = None,
    batch_size: Annotated[Whole, _option("Rows a step; not given: 1, of networks 200.", panel=_TRAINING)] = None,
    average: Annotated[Text, _option("Average the iterates: true, or from which step on.", panel=_TRAINING)] = None,
    more: Annotated[Several, _option("Another parameter, NAME=VALUE; repeatable.", "--set", panel=_TRAINING)] = None,
    seed: Annotated[int, _option("Of shuffling and of splitting.", panel=_TRAINING)] = 0,
    workers: Annotated[Whole, _option("1: serial; -1: all cores; not given: as many as pay.", panel=_PARALLEL)] = None,
    algorithm: Annotated[
        Text, _option("auto, simuparallel, weighted, local, minibatch, hogwild.", panel=_PARALLEL)
    ] = None,
    engine: Annotated[Text, _option("auto, serial or threads.", panel=_PARALLEL)] = None,
    round_seconds: Annotated[Number, _option("Length of a round of work.", panel=_PARALLEL)] = None,
    test_fraction: Annotated[float, _option("Share of the rows kept for the test score.", panel=_DATA)] = 0.2,
    standardize: Annotated[Maybe, _option("Mean 0, deviation 1; not given: dense data only.", panel=_DATA)] = None,
    categorical: Annotated[Several, _option("Take this column for categories; repeatable.", panel=_DATA)] = None,
    drop: Annotated[Several, _option("Leave this column out; repeatable.", panel=_DATA)] = None,
    max_categories: Annotated[int, _option("Most categories of a column; rarer ones: (other).", panel=_DATA)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Fit a model to a data file, test it on rows kept apart, and save it.

    Text columns become columns of 0 and 1, gaps are filled, numbers are standardized; the command says what it did, and
    the model file remembers it.  Ctrl-C keeps the best model so far.

    With --hidden the classifier or regressor is a network, fitted by adam; --set solver=sgd, activation=tanh,
    dropout=0.2 and so on change how.  It has --loss as a regressor only, --learning-rate with solver=sgd only, and
    neither --penalty nor --average.
    """
    from parsgd.cli import networks, training
    from parsgd.cli.encoding import Choices
    from parsgd.cli.speaking import Voice

    given = {
        "loss": loss, "penalty": penalty, "alpha": alpha, "learning_rate": learning_rate, "eta0": eta0,
        "max_iter": max_iter, "tol": tol, "batch_size": batch_size, "average": average, "n_jobs": workers,
        "algorithm": algorithm, "engine": engine,
    }  # fmt: skip
    parameters = {name: parsed(value) for name, value in given.items() if value is not None}
    if hidden is not None:
        parameters["hidden_layer_sizes"] = networks.layers(hidden)
    choices = Choices(tuple(categorical or ()), tuple(drop or ()), standardize, max_categories)
    request = training.Request(
        data, out, model, target, parameters | assignments(more or ()), round_seconds, test_fraction, seed, choices
    )
    report = training.run(request, Voice(quiet=as_json))
    if as_json:
        print_json(report)
    if report["outcome"] == "INTERRUPTED":
        raise Ended(f"Interrupted: the best model so far was kept, and saved to {out}.", INTERRUPTED)


@app.command()
def predict(
    model: ModelFile,
    data: DataFile,
    out: Annotated[str, _option("File to write: .csv, .parquet, .npz; - for CSV here.", "--out", "-o", metavar="FILE")],
) -> None:
    """Predict a target for every row of a data file."""
    from parsgd.cli import predicting
    from parsgd.cli.speaking import Voice

    predicting.predict(model, data, out, Voice(to_stderr=out == "-"))


@app.command()
def evaluate(
    model: ModelFile,
    data: DataFile,
    target: Annotated[Text, _option("Column with the true values, if not that of the fit.", metavar="COLUMN")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on a data file that has the true values."""
    from parsgd.cli import predicting
    from parsgd.cli.speaking import Voice

    report = predicting.evaluate(model, data, target, Voice(quiet=as_json))
    if as_json:
        print_json(report)


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """Train linear models and networks by parallel stochastic gradient descent, and use them."""
    if version:
        import parsgd

        typer.echo(f"parsgd {parsgd.__version__}")
        raise typer.Exit()


def parsed(value: Any) -> Any:
    """The value of a parameter as it was meant: ``none``, ``true``, numbers, or the text itself."""
    if not isinstance(value, str):
        return value
    words = {"none": None, "null": None, "true": True, "false": False}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set NAME=VALUE`` gave."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (name, equals, value) in zip(pairs, split, strict=True):
        if not (name and equals and value):
            raise Mistake(f"--set {pair}: write NAME=VALUE, such as --set l1_ratio=0.3")
    return {name.strip(): parsed(value.strip()) for name, _, value in split}


def print_json(report: dict[str, Any]) -> None:
    """Strict JSON on standard output: a number that does not exist is null."""

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(item) for key, item in value.items()}
        if isinstance(value, list):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    sys.stdout.write(json.dumps(strict(report), indent=2, allow_nan=False) + "\n")
