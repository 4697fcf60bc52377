"""Single options and arguments that several commands have, and the names of models and losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from parsgd import registry
from parsgd.kernels import losses

# --model -> class name of the estimator.
MODELS = {
    "sgd-classifier": "SGDClassifier",
    "sgd-regressor": "SGDRegressor",
    "sgd-one-class-svm": "SGDOneClassSVM",
    "mlp-classifier": "MLPClassifier",
    "mlp-regressor": "MLPRegressor",
}
# Values for shell completion; the estimators check the values. Only networks have absolute_error.
LOSSES = (*losses.names(), "absolute_error")
PENALTIES = ("l2", "l1", "elasticnet", "none")
ALGORITHMS, ENGINES = ("auto", *registry.ALGORITHMS), ("auto", *registry.ENGINES)
RATES = ("optimal", "constant", "invscaling", "adaptive", "adagrad", "auto")


def option(
    help: str, *names: str, metavar: str | None = None, panel: str | None = None, among: Sequence[str] = ()
) -> Any:
    """Define an option; the shell completes the values in ``among``."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in among if value.startswith(incomplete)]

    completion = complete if among else None
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, autocompletion=completion)


training_option = partial(option, panel="Training")
parallel_option = partial(option, panel="Parallel work")
checkpoint_option = partial(option, panel="Checkpoints")
data_option = partial(option, panel="Rows and columns")

_FORMATS = (
    "A .csv, .tsv, .parquet, .npz or .svm file, - for CSV on standard input, or digits, breast-cancer, diabetes, iris."
)
DataFile = Annotated[str, typer.Argument(metavar="DATA", help=_FORMATS)]
_STREAMED = "Folders, several files, and addresses such as s3://bucket/folder are streamed."
DataFiles = Annotated[list[str], typer.Argument(metavar="DATA...", help=f"{_FORMATS} {_STREAMED}")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file written by parsgd fit.")]
AsJson = Annotated[bool, option("Print the results as one JSON object; progress goes to standard error.", "--json")]
Stream = Annotated[
    bool | None, option("Read the data in parts instead of loading them. Default: if large.", "--stream/--no-stream")
]
TestFraction = Annotated[float, data_option("Fraction of the rows held out as the test set.")]
