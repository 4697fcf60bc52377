"""Option groups that several commands share.

A group is a dataclass in a command's signature that contributes one option per field.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

from parsgd.cli.cli_errors import UsageError
from parsgd.cli.option_values import parse_assignments, parse_counts, parse_parameter
from parsgd.cli.options import (
    ALGORITHMS,
    ENGINES,
    LOSSES,
    MODELS,
    PENALTIES,
    RATES,
    checkpoint_option,
    data_option,
    option,
    parallel_option,
    training_option,
)


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
    parameters = inspect.signature(group, eval_str=True).parameters.values()
    return [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]


@dataclass(frozen=True)
class TrainingOptions:
    """The model, its target column, and the parameters of training."""

    model: Annotated[str, option(f"{', '.join(MODELS)}.", among=tuple(MODELS))] = "sgd-classifier"
    hidden: Annotated[
        str | None, option("Fit a network with these hidden layers, such as 256,128.", metavar="SIZES")
    ] = None
    target: Annotated[str | None, option("Column to predict.", metavar="COLUMN")] = None
    loss: Annotated[
        str | None, training_option("hinge, log_loss, softmax, squared_error, huber, ...", among=LOSSES)
    ] = None
    penalty: Annotated[str | None, training_option("l2, l1, elasticnet or none.", among=PENALTIES)] = None
    alpha: Annotated[float | None, training_option("Strength of the penalty.")] = None
    learning_rate: Annotated[
        str | None, training_option("optimal, constant, invscaling, adaptive, adagrad or auto.", among=RATES)
    ] = None
    eta0: Annotated[float | None, training_option("Initial learning rate.")] = None
    batch_size: Annotated[int | None, training_option("Rows per step. Default: 1; networks: 200.")] = None
    average: Annotated[str | None, training_option("Average the iterates: true, or the first step to average.")] = None
    more: Annotated[list[str] | None, training_option("Any other parameter as NAME=VALUE; repeatable.", "--set")] = None
    seed: Annotated[int, training_option("Random seed for shuffling and splitting.")] = 0

    def parameters(self, **others: Any) -> dict[str, Any]:
        """Return the given parameters by the estimator's names; ``others`` are further ones, None if omitted."""
        names = ("loss", "penalty", "alpha", "learning_rate", "eta0", "batch_size", "average")
        given = {name: getattr(self, name) for name in names} | others
        parameters = {name: parse_parameter(value) for name, value in given.items() if value is not None}
        if self.hidden is not None:
            expected = "the number of units of each hidden layer, such as --hidden 256,128"
            parameters["hidden_layer_sizes"] = tuple(parse_counts(self.hidden, "--hidden", expected))
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
        bool | None, data_option("Column names in the first row of CSV. Default: required; data are refused.")
    ] = None
    names: Annotated[
        str | None, data_option("Column names of CSV without a header, separated by commas.", metavar="A,B,...")
    ] = None
    decimal: Annotated[str, data_option("Decimal separator of CSV: . or a comma.", among=(".", ","))] = "."
    zero_based: Annotated[
        bool | None,
        data_option("First index of svmlight features. Default: from the data.", "--zero-based/--one-based"),
    ] = None

    def __post_init__(self) -> None:
        """Raise UsageError for an invalid decimal separator or invalid names."""
        if self.decimal not in (".", ","):
            raise UsageError(f"--decimal must be . or a comma; got {self.decimal}.")
        if self.names is not None:
            if self.header:
                raise UsageError("--names are for CSV without a header; remove --names or --header.")
            names = [name.strip() for name in self.names.split(",")]
            if not all(names) or len(set(names)) < len(names):
                raise UsageError(f"--names {self.names}: give each column a different name, such as --names a,b,c.")

    @property
    def csv_header(self) -> str | bool | list[str] | None:
        """The ``header`` argument of :func:`parsgd.open_dataset`."""
        if self.names is not None:
            return [name.strip() for name in self.names.split(",")]
        return {None: "auto", True: True, False: None}[self.header]


@dataclass(frozen=True)
class ColumnOptions(FileOptions):
    """The layout of data files, and the encoding of the columns."""

    standardize: Annotated[bool | None, data_option("Scale to mean 0, deviation 1. Default: dense data only.")] = None
    categorical: Annotated[list[str] | None, data_option("Encode this column as categories; repeatable.")] = None
    drop: Annotated[list[str] | None, data_option("Leave this column out; repeatable.")] = None
    max_categories: Annotated[int, data_option("Maximum categories of a column; rarer ones: (other).")] = 1000

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if self.max_categories < 2:
            raise UsageError(f"--max-categories must be 2 or more; got {self.max_categories}.")
        super().__post_init__()


@dataclass(frozen=True)
class LearnOptions(ColumnOptions, TrainingOptions):
    """The options of every command that fits a model to data."""


@dataclass(frozen=True)
class ParallelOptions:
    """Workers, algorithm and engine."""

    workers: Annotated[int | None, parallel_option("1: serial; -1: all cores. Default: automatic.")] = None
    algorithm: Annotated[str | None, parallel_option("auto, local, weighted, minibatch, ...", among=ALGORITHMS)] = None
    engine: Annotated[str | None, parallel_option("auto, serial, threads, processes, dask, ray.", among=ENGINES)] = None
    scheduler: Annotated[
        str | None,
        parallel_option("Address of a Dask scheduler or its .json file, or of a Ray cluster.", metavar="ADDRESS"),
    ] = None
    round_seconds: Annotated[float | None, parallel_option("Length of a round in seconds.")] = None

    def parameters(self) -> dict[str, Any]:
        """Return the estimator's parameters, None if omitted."""
        return {"n_jobs": self.workers, "algorithm": self.algorithm, "engine": self.engine}


@dataclass(frozen=True)
class CheckpointOptions:
    """The checkpoints of a fit."""

    checkpoint: Annotated[Path | None, checkpoint_option("Folder for checkpoints.", metavar="DIR")] = None
    resume: Annotated[bool, checkpoint_option("Resume from the last checkpoint, if any.", "--resume")] = False
    checkpoint_seconds: Annotated[
        float | None, checkpoint_option("Seconds between checkpoints; 0: every round. Default: 10.", metavar="S")
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
