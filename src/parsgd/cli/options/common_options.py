"""Option groups that several commands share: model, training, columns, parallel work and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from parsgd import registry
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.options.option_types import (
    CHECKPOINTS,
    DATA,
    PARALLEL,
    TRAINING,
    Boolean,
    Integer,
    Number,
    OptionalPath,
    Text,
    Texts,
    assignments,
    option,
    parsed,
)
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
RATES = ("optimal", "constant", "invscaling", "adaptive", "adagrad")
Header = Annotated[
    Boolean, option("Column names in the first row of CSV. Default: required; data are refused.", panel=DATA)
]
Decimal = Annotated[str, option("Decimal separator of CSV: . or a comma.", panel=DATA, among=(".", ","))]
ZeroBased = Annotated[
    Boolean,
    option("First index of svmlight features. Default: from the data.", "--zero-based/--one-based", panel=DATA),
]
TestFraction = Annotated[float, option("Fraction of the rows held out as the test set.", panel=DATA)]


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
        names = ("loss", "penalty", "alpha", "learning_rate", "eta0", "batch_size", "average")
        given = {name: getattr(self, name) for name in names} | others
        parameters = {name: parsed(value) for name, value in given.items() if value is not None}
        if model_options.hidden is not None:
            from parsgd.cli.options import network_options

            parameters["hidden_layer_sizes"] = network_options.layers(model_options.hidden)
        return parameters | assignments(self.more or ())


@dataclass(frozen=True)
class ColumnOptions:
    """The encoding of the columns."""

    standardize: Annotated[Boolean, option("Scale to mean 0, deviation 1. Default: dense data only.", panel=DATA)] = (
        None
    )
    categorical: Annotated[Texts, option("Encode this column as categories; repeatable.", panel=DATA)] = None
    drop: Annotated[Texts, option("Leave this column out; repeatable.", panel=DATA)] = None
    max_categories: Annotated[int, option("Maximum categories of a column; rarer ones: (other).", panel=DATA)] = 1000
    header: Header = None
    decimal: Decimal = "."
    zero_based: ZeroBased = None

    def encoding_options(self) -> Any:
        """Return the options of :mod:`parsgd.cli.tables`."""
        files = file_options(self.header, self.decimal, self.zero_based)
        named = {"categorical": tuple(self.categorical or ()), "drop": tuple(self.drop or ())}
        return replace(files, **named, standardize=self.standardize, max_categories=self.max_categories)


def file_options(header: bool | None, decimal: str, zero_based: bool | None) -> Any:
    """Return the file options of :func:`parsgd.cli.tables.read_data.read`; raise UsageError for an invalid decimal."""
    from parsgd.cli.tables.learn_columns import EncodingOptions

    if decimal not in (".", ","):
        raise UsageError(f"--decimal must be . or a comma; got {decimal}.")
    headers = {None: "auto", True: True, False: None}
    return EncodingOptions(header=headers[header], decimal=decimal, zero_based=zero_based)


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

    checkpoint: Annotated[OptionalPath, option("Folder for checkpoints.", metavar="DIR", panel=CHECKPOINTS)] = None
    resume: Annotated[bool, option("Resume from the last checkpoint, if any.", "--resume", panel=CHECKPOINTS)] = False
    checkpoint_seconds: Annotated[
        Number,
        option("Seconds between checkpoints; 0: every round. Default: 10.", metavar="S", panel=CHECKPOINTS),
    ] = None

    def request(self) -> Any:
        """Return the values as a :class:`parsgd.cli.options.checkpoint_options.CheckpointRequest`."""
        from parsgd.cli.options import checkpoint_options

        return checkpoint_options.CheckpointRequest(self.checkpoint, self.resume, self.checkpoint_seconds)
