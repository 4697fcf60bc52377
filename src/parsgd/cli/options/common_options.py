"""The groups of options that several commands have: what is fitted, how, by whom, and on which columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from parsgd import registry
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.options.option_types import (
    DATA,
    KEEPING,
    PARALLEL,
    TRAINING,
    Maybe,
    MaybePath,
    Number,
    Several,
    Text,
    Whole,
    assignments,
    option,
    parsed,
)

# Model on the command line -> the estimator.
MODELS = {
    "sgd-classifier": "SGDClassifier",
    "sgd-regressor": "SGDRegressor",
    "sgd-one-class-svm": "SGDOneClassSVM",
    "mlp-classifier": "MLPClassifier",
    "mlp-regressor": "MLPRegressor",
}
# For the shell to complete; the estimators say what they take.
LOSSES = (
    "hinge", "squared_hinge", "modified_huber", "perceptron", "log_loss", "softmax", "squared_error", "huber",
    "epsilon_insensitive", "squared_epsilon_insensitive", "quantile", "poisson", "absolute_error",
)  # fmt: skip
PENALTIES = ("l2", "l1", "elasticnet", "none")
RATES = ("optimal", "constant", "invscaling", "adaptive", "adagrad")
Header = Annotated[
    Maybe, option("Whether the first row of CSV has names; not given: data there are refused.", panel=DATA)
]
Decimal = Annotated[str, option("Decimal point of CSV: . or a comma.", panel=DATA, among=(".", ","))]
ZeroBased = Annotated[
    Maybe,
    option(
        "Whether svmlight features count from 0 or 1; not given: see the file.", "--zero-based/--one-based", panel=DATA
    ),
]
TestFraction = Annotated[float, option("Share of the rows kept apart to test on.", panel=DATA)]


@dataclass(frozen=True)
class ModelOptions:
    """What is fitted."""

    model: Annotated[str, option(f"{', '.join(MODELS)}.", among=tuple(MODELS))] = "sgd-classifier"
    hidden: Annotated[Text, option("Units of the hidden layers, 256,128: a network.", metavar="SIZES")] = None
    target: Annotated[Text, option("Column to predict.", metavar="COLUMN")] = None


@dataclass(frozen=True)
class DescentOptions:
    """How it is fitted."""

    loss: Annotated[
        Text, option("hinge, log_loss, softmax, squared_error, huber, ...", panel=TRAINING, among=LOSSES)
    ] = None
    penalty: Annotated[Text, option("l2, l1, elasticnet or none.", panel=TRAINING, among=PENALTIES)] = None
    alpha: Annotated[Number, option("Strength of the penalty.", panel=TRAINING)] = None
    learning_rate: Annotated[
        Text, option("optimal, constant, invscaling, adaptive or adagrad.", panel=TRAINING, among=RATES)
    ] = None
    eta0: Annotated[Number, option("First learning rate.", panel=TRAINING)] = None
    batch_size: Annotated[Whole, option("Rows a step; not given: 1, of networks 200.", panel=TRAINING)] = None
    average: Annotated[Text, option("Average the iterates: true, or from which step on.", panel=TRAINING)] = None
    more: Annotated[Several, option("Another parameter, NAME=VALUE; repeatable.", "--set", panel=TRAINING)] = None
    seed: Annotated[int, option("Of whatever is random: shuffling, splitting.", panel=TRAINING)] = 0

    def parameters(self, what: ModelOptions, **others: Any) -> dict[str, Any]:
        """Those of the estimator that were given, by its names; ``others`` are more of them, None if not given."""
        names = ("loss", "penalty", "alpha", "learning_rate", "eta0", "batch_size", "average")
        given = {name: getattr(self, name) for name in names} | others
        parameters = {name: parsed(value) for name, value in given.items() if value is not None}
        if what.hidden is not None:
            from parsgd.cli.options import network_options

            parameters["hidden_layer_sizes"] = network_options.layers(what.hidden)
        return parameters | assignments(self.more or ())


@dataclass(frozen=True)
class ColumnOptions:
    """What becomes of the columns."""

    standardize: Annotated[Maybe, option("Mean 0, deviation 1; not given: dense data only.", panel=DATA)] = None
    categorical: Annotated[Several, option("Take this column for categories; repeatable.", panel=DATA)] = None
    drop: Annotated[Several, option("Leave this column out; repeatable.", panel=DATA)] = None
    max_categories: Annotated[int, option("Most categories of a column; rarer ones: (other).", panel=DATA)] = 1000
    header: Header = None
    decimal: Decimal = "."
    zero_based: ZeroBased = None

    def choices(self) -> Any:
        """For :mod:`parsgd.cli.tables`."""
        files = file_options(self.header, self.decimal, self.zero_based)
        named = {"categorical": tuple(self.categorical or ()), "drop": tuple(self.drop or ())}
        return replace(files, **named, standardize=self.standardize, max_categories=self.max_categories)


def file_options(header: bool | None, decimal: str, zero_based: bool | None) -> Any:
    """What was said about files, for :func:`parsgd.cli.tables.read_data.read`."""
    from parsgd.cli.tables.learn_columns import EncodingOptions

    if decimal not in (".", ","):
        raise UsageError(f"--decimal {decimal}: the decimal point is . or ,")
    known = {None: "auto", True: True, False: None}
    return EncodingOptions(header=known[header], decimal=decimal, zero_based=zero_based)


@dataclass(frozen=True)
class ParallelOptions:
    """Who does the work."""

    workers: Annotated[Whole, option("1: serial; -1: all cores; not given: as many as pay.", panel=PARALLEL)] = None
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
            "Address of a Dask scheduler, or the .json file it writes; for --engine dask.",
            metavar="ADDRESS",
            panel=PARALLEL,
        ),
    ] = None
    round_seconds: Annotated[Number, option("Length of a round of work.", panel=PARALLEL)] = None

    def parameters(self) -> dict[str, Any]:
        """Those of the estimator, None if not given."""
        return {"n_jobs": self.workers, "algorithm": self.algorithm, "engine": self.engine}


@dataclass(frozen=True)
class KeepingOptions:
    """What is kept while it is fitted."""

    checkpoint: Annotated[MaybePath, option("Folder to keep checkpoints in.", metavar="DIR", panel=KEEPING)] = None
    resume: Annotated[bool, option("Go on from the last checkpoint, if there is one.", "--resume", panel=KEEPING)] = (
        False
    )
    checkpoint_seconds: Annotated[
        Number,
        option("Seconds from one to the next; 0: every round; not given: 10.", metavar="S", panel=KEEPING),
    ] = None

    def request(self) -> Any:
        """For :mod:`parsgd.cli.options.checkpoint_options`."""
        from parsgd.cli.options import checkpoint_options

        return checkpoint_options.CheckpointRequest(self.checkpoint, self.resume, self.checkpoint_seconds)
