"""Options of the commands, and option groups that several commands share.

A group is a dataclass in a command's signature that contributes one option per field, so each option and its help text
are defined once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

from parsgd import registry
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.option_values import parse_assignments, parse_layers, parse_parameter
from parsgd.kernels import losses

if TYPE_CHECKING:
    from parsgd.cli.tables.learn_columns import EncodingOptions

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
RATES = ("optimal", "constant", "invscaling", "adaptive", "adagrad")
TRAINING, PARALLEL, CHECKPOINTS, DATA = "Training", "Parallel work", "Checkpoints", "Rows and columns"
Text: TypeAlias = str | None
Number: TypeAlias = float | None
Integer: TypeAlias = int | None
Boolean: TypeAlias = bool | None
Texts: TypeAlias = list[str] | None


def option(
    help: str,
    *names: str,
    metavar: str | None = None,
    panel: str | None = None,
    among: Sequence[str] | None = None,
) -> Any:
    """Define an option; the shell completes the values in ``among``."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in among or () if value.startswith(incomplete)]

    completion = None if among is None else complete
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, autocompletion=completion)


_FORMATS = (
    "A .csv, .tsv, .parquet, .npz or .svm file, - for CSV on standard input, or digits, breast-cancer, diabetes, iris."
)
DataFile = Annotated[str, typer.Argument(metavar="DATA", help=_FORMATS)]
_STREAMED = "Folders, several files, and addresses such as s3://bucket/folder are streamed."
DataFiles = Annotated[list[str], typer.Argument(metavar="DATA...", help=f"{_FORMATS} {_STREAMED}")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file written by parsgd fit.")]
AsJson = Annotated[bool, option("Print the results as one JSON object; progress goes to standard error.", "--json")]
Stream: TypeAlias = Annotated[
    Boolean, option("Read the data in parts instead of loading them. Default: if large.", "--stream/--no-stream")
]
TestFraction = Annotated[float, option("Fraction of the rows held out as the test set.", panel=DATA)]


# -- option groups -----------------------------------------------------------------------------------------------------


def expand_groups(function: Callable[..., Any], *extra: type) -> Callable[..., Any]:
    """Replace each parameter of ``function`` that is a group by the fields of the group.

    The fields of the groups in ``extra`` become parameters, too, but are not passed to ``function``.

    >>> @dataclass
    ... class Point:
    ...     x: int = 0
    ...     y: int = 0
    >>> def show(name: str, point: Point): print(name, point)
    >>> flat = expand_groups(show)
    >>> str(inspect.signature(flat))
    '(*, name: str, x: int = 0, y: int = 0)'
    >>> flat(name="origin", x=1)
    origin Point(x=1, y=0)
    """
    flat: list[Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            flat += _fields_of(parameter.annotation)
        else:
            flat.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    dropped = [parameter for group in extra for parameter in _fields_of(group)]

    @functools.wraps(function)
    def wrapper(**values: Any) -> Any:
        for parameter in dropped:
            values.pop(parameter.name, None)
        for name, group in groups.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group) if one.name in values})
        return function(**values)

    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.Signature([*flat, *dropped])
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in [*flat, *dropped]}
    return wrapper


def _fields_of(group: type) -> list[Parameter]:
    """Return the fields of a group as parameters, with the defaults of its constructor."""
    hints = get_type_hints(group, include_extras=True)
    parameters = inspect.signature(group).parameters.values()
    return [one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in parameters]


@dataclass(frozen=True)
class ModelOptions:
    """The model and its target column."""

    model: Annotated[str, option(f"{', '.join(MODELS)}.", among=tuple(MODELS))] = "sgd-classifier"
    hidden: Annotated[Text, option("Fit a network with these hidden layers, such as 256,128.", metavar="SIZES")] = None
    target: Annotated[Text, option("Column to predict.", metavar="COLUMN")] = None


@dataclass(frozen=True)
class TrainingOptions:
    """Loss, penalty, learning rate and other parameters of training."""

    loss: Annotated[
        Text, option("hinge, log_loss, softmax, squared_error, huber, ...", panel=TRAINING, among=LOSSES)
    ] = None
    penalty: Annotated[Text, option("l2, l1, elasticnet or none.", panel=TRAINING, among=PENALTIES)] = None
    alpha: Annotated[Number, option("Strength of the penalty.", panel=TRAINING)] = None
    learning_rate: Annotated[
        Text, option("optimal, constant, invscaling, adaptive or adagrad.", panel=TRAINING, among=RATES)
    ] = None
    eta0: Annotated[Number, option("Initial learning rate.", panel=TRAINING)] = None
    batch_size: Annotated[Integer, option("Rows per step. Default: 1; networks: 200.", panel=TRAINING)] = None
    average: Annotated[Text, option("Average the iterates: true, or the first step to average.", panel=TRAINING)] = None
    more: Annotated[Texts, option("Any other parameter as NAME=VALUE; repeatable.", "--set", panel=TRAINING)] = None
    seed: Annotated[int, option("Random seed for shuffling and splitting.", panel=TRAINING)] = 0

    def parameters(self, model_options: ModelOptions, **others: Any) -> dict[str, Any]:
        """Return the given parameters by the estimator's names; ``others`` are further ones, None if omitted."""
        given = vars(self) | others
        parameters = {
            name: parse_parameter(value)
            for name, value in given.items()
            if value is not None and name not in ("more", "seed")
        }
        if model_options.hidden is not None:
            parameters["hidden_layer_sizes"] = parse_layers(model_options.hidden)
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more; got {self.seed}.")
        assigned = parse_assignments(self.more or ())
        if "random_state" in assigned:
            raise UsageError("--set random_state: use --seed.")
        return parameters | assigned | {"random_state": self.seed}


@dataclass(frozen=True)
class FileOptions:
    """The layout of data files."""

    header: Annotated[
        Boolean, option("Column names in the first row of CSV. Default: required; data are refused.", panel=DATA)
    ] = None
    names: Annotated[
        Text, option("Column names of CSV without a header, separated by commas.", metavar="A,B,...", panel=DATA)
    ] = None
    decimal: Annotated[str, option("Decimal separator of CSV: . or a comma.", panel=DATA, among=(".", ","))] = "."
    zero_based: Annotated[
        Boolean,
        option("First index of svmlight features. Default: from the data.", "--zero-based/--one-based", panel=DATA),
    ] = None

    def encoding_options(self) -> EncodingOptions:
        """Return the options of :mod:`parsgd.cli.tables`; raise UsageError for an invalid decimal or names."""
        from parsgd.cli.tables.learn_columns import EncodingOptions

        if self.decimal not in (".", ","):
            raise UsageError(f"--decimal must be . or a comma; got {self.decimal}.")
        header: str | bool | list[str] | None = {None: "auto", True: True, False: None}[self.header]
        if self.names is not None:
            if self.header:
                raise UsageError("--names are for CSV without a header; remove --names or --header.")
            header = [name.strip() for name in self.names.split(",")]
            if not all(header) or len(set(header)) < len(header):
                raise UsageError(f"--names {self.names}: give each column a different name, such as --names a,b,c.")
        return EncodingOptions(header=header, decimal=self.decimal, zero_based=self.zero_based)


@dataclass(frozen=True)
class ColumnOptions(FileOptions):
    """The layout of data files, and the encoding of the columns."""

    standardize: Annotated[Boolean, option("Scale to mean 0, deviation 1. Default: dense data only.", panel=DATA)] = (
        None
    )
    categorical: Annotated[Texts, option("Encode this column as categories; repeatable.", panel=DATA)] = None
    drop: Annotated[Texts, option("Leave this column out; repeatable.", panel=DATA)] = None
    max_categories: Annotated[int, option("Maximum categories of a column; rarer ones: (other).", panel=DATA)] = 1000

    def encoding_options(self) -> EncodingOptions:
        """Return the options of :mod:`parsgd.cli.tables`; raise UsageError for invalid values."""
        if self.max_categories < 2:
            raise UsageError(f"--max-categories must be 2 or more; got {self.max_categories}.")
        return replace(
            super().encoding_options(),
            categorical=tuple(self.categorical or ()),
            drop=tuple(self.drop or ()),
            standardize=self.standardize,
            max_categories=self.max_categories,
        )


@dataclass(frozen=True)
class ParallelOptions:
    """Workers, algorithm and engine."""

    workers: Annotated[Integer, option("1: serial; -1: all cores. Default: automatic.", panel=PARALLEL)] = None
    algorithm: Annotated[
        Text,
        option("auto, local, weighted, minibatch, ...", panel=PARALLEL, among=("auto", *registry.ALGORITHMS)),
    ] = None
    engine: Annotated[
        Text,
        option("auto, serial, threads, processes or dask.", panel=PARALLEL, among=("auto", *registry.ENGINES)),
    ] = None
    scheduler: Annotated[
        Text,
        option(
            "Address of a Dask scheduler, or its .json file; needs --engine dask.",
            metavar="ADDRESS",
            panel=PARALLEL,
        ),
    ] = None
    round_seconds: Annotated[Number, option("Length of a round in seconds.", panel=PARALLEL)] = None

    def parameters(self) -> dict[str, Any]:
        """Return the estimator's parameters, None if omitted."""
        return {"n_jobs": self.workers, "algorithm": self.algorithm, "engine": self.engine}


@dataclass(frozen=True)
class CheckpointOptions:
    """The checkpoints of a fit."""

    checkpoint: Annotated[Path | None, option("Folder for checkpoints.", metavar="DIR", panel=CHECKPOINTS)] = None
    resume: Annotated[bool, option("Resume from the last checkpoint, if any.", "--resume", panel=CHECKPOINTS)] = False
    checkpoint_seconds: Annotated[
        Number,
        option("Seconds between checkpoints; 0: every round. Default: 10.", metavar="S", panel=CHECKPOINTS),
    ] = None

    def parameters(self) -> dict[str, Any]:
        """Return the estimator's parameters; raise UsageError if the folder is missing.

        >>> CheckpointOptions(Path("run"), checkpoint_seconds=60.0).parameters()
        {'checkpoint': Checkpoint(folder='run', seconds=60.0, keep=2)}
        """
        if self.checkpoint is None:
            alone = "resume" if self.resume else "checkpoint-seconds" if self.checkpoint_seconds is not None else None
            if alone:
                raise UsageError(f"--{alone} needs --checkpoint DIR; add it.")
            return {}
        from parsgd.checkpointing import Checkpoint

        seconds = Checkpoint.seconds if self.checkpoint_seconds is None else self.checkpoint_seconds
        return {"checkpoint": Checkpoint(str(self.checkpoint), seconds)}

    def fit_arguments(self) -> dict[str, bool]:
        """Return the keyword arguments of ``fit``."""
        return {} if self.checkpoint is None else {"resume": self.resume}
