"""Work shared by ``fit``, ``bench``, ``plan`` and ``simulate``: the estimator, the encoded rows, and the fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix

import parsgd
from parsgd import registry
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import LearnOptions, ParallelOptions
from parsgd.cli.options import ALGORITHMS, ENGINES, MODELS
from parsgd.cli.scoring import task_of
from parsgd.cli.tables import held_out, learn_columns, modelfile, target_column
from parsgd.cli.tables import read_data as files
from parsgd.core import Algorithm, Engine
from parsgd.data.columns.encoder import Encoder
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.errors import DataFileError, InvalidArgumentError, Outcome, ParsgdError, choose, did_you_mean

Columns: TypeAlias = Encoder | SvmlightColumns
# --hidden turns each of these models into a network.
_NETWORKS = {"sgd-classifier": "mlp-classifier", "sgd-regressor": "mlp-regressor"}
# Parameters that a network lacks, each with the reason or the alternative.
_UNSUPPORTED = {
    "penalty": "its penalty is l2 with strength --alpha",
    "average": "to average several workers use --workers",
    "loss": "its loss is the cross-entropy",
}
# Parameters with which the rate is not chosen automatically.
_RATE_OPTIONS = frozenset({"learning_rate", "eta0", "power_t", "average", "batch_size"})
_MINIBATCH_OPTIONS = {"n_jobs": "workers", "algorithm": "algorithm", "engine": "engine", "batch_size": "batch-size"}


@dataclass
class FitInputs:
    """Encoded training and test rows; ``columns`` counts the columns before encoding."""

    rows: np.ndarray | csr_matrix | Dataset
    target: np.ndarray | None
    test_rows: np.ndarray | csr_matrix | Dataset | None = None
    test_target: np.ndarray | None = None
    encoding: Columns | None = None
    columns: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_rows(self) -> dict[str, int]:
        """The numbers of training and test rows."""
        return {"training": self.rows.shape[0], "test": 0 if self.test_rows is None else self.test_rows.shape[0]}

    @property
    def scored_on(self) -> str:
        """The rows for scores: ``"test"``, or ``"training"`` without a test set."""
        return "training" if self.test_rows is None else "test"

    @property
    def scored(self) -> tuple[Any, np.ndarray | None]:
        """The rows for scores, and their targets."""
        return (self.rows, self.target) if self.test_rows is None else (self.test_rows, self.test_target)


# -- the estimator -----------------------------------------------------------------------------------------------------


def make_estimator(model: str, parameters: Mapping[str, Any], parallel: ParallelOptions | None = None) -> Any:
    """Create the estimator with the given parameters; raise an error for invalid ones before data are read."""
    choose(model, MODELS, "--model", "parsgd fit")
    model, parameters = convert_parameters(model, parameters)
    name = MODELS[model]
    estimator = getattr(parsgd, name)()
    allowed = set(estimator.get_params())
    for parameter in parameters:
        if parameter not in allowed:
            hint = did_you_mean(parameter, allowed)
            raise UsageError(f"{model} has no {parameter}.{hint} Its parameters are {', '.join(sorted(allowed))}.")
    estimator.set_params(**parameters)
    if parallel is not None and parallel.scheduler is not None:
        estimator.set_params(engine=make_cluster_engine(estimator.engine, parallel.scheduler))
    if parallel is not None and parallel.round_seconds is not None:
        if uses_lbfgs(estimator):
            raise _lbfgs_error("round-seconds")
        estimator.set_params(algorithm=make_timed_algorithm(estimator.algorithm, parallel.round_seconds))
    estimator._check_parameters()
    for what, members in (("algorithm", ALGORITHMS), ("engine", ENGINES)):
        if isinstance(getattr(estimator, what), str):
            choose(getattr(estimator, what), members, what, name)
    if estimator.n_jobs == 0:
        raise InvalidArgumentError("--workers must not be 0; 1 is serial, -1 uses all cores.")
    return estimator


def set_default_rate(estimator: Any, given: Mapping[str, Any]) -> None:
    """Set ``learning_rate="auto"`` for a linear model, unless an option sets the rate or does not go with it."""
    if type(estimator).__name__ not in ("SGDClassifier", "SGDRegressor") or not _RATE_OPTIONS.isdisjoint(given):
        return
    algorithm = given.get("algorithm", "auto")
    if algorithm != "auto":
        traits = registry.load(registry.ALGORITHMS[algorithm])().traits
        if traits.message == "gradient" or "shared_memory" in traits.requires:
            return
    if isinstance(estimator.loss, str):
        estimator.set_params(learning_rate="auto")


def convert_parameters(model: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model and its parameters; with hidden layers those of a network.

    >>> convert_parameters("sgd-regressor", {"hidden_layer_sizes": (8,), "eta0": 0.01})
    ('mlp-regressor', {'hidden_layer_sizes': (8,), 'learning_rate_init': 0.01})
    """
    if "hidden_layer_sizes" in parameters:
        model = _NETWORKS.get(model, model)
    if model not in _NETWORKS.values():
        if "hidden_layer_sizes" in parameters:
            raise UsageError(f"{model} has no hidden layers; use --hidden with {' or '.join(_NETWORKS)}.")
        return model, parameters
    for name in parameters:
        if name in _UNSUPPORTED and not (name == "loss" and model == "mlp-regressor"):
            raise UsageError(f"A network ({model}) has no {name}: {_UNSUPPORTED[name]}. Remove --{name}.")
    solver = parameters.get("solver", "adam")
    if "learning_rate" in parameters and solver != "sgd":
        raise UsageError(
            f"--learning-rate needs --set solver=sgd for networks; {solver} has no schedule. Use --eta0 for the rate."
        )
    unused = [option for name, option in _MINIBATCH_OPTIONS.items() if name in parameters]
    if solver == "lbfgs" and unused:
        raise _lbfgs_error(unused[0])
    parameters = dict(parameters)
    if "eta0" in parameters:
        parameters["learning_rate_init"] = parameters.pop("eta0")
    if parameters.get("tol", 0) is None:
        # the tol of a network must be a number; these values disable the stopping rule
        parameters |= {"tol": 0.0, "n_iter_no_change": math.inf}
    return model, parameters


def uses_lbfgs(estimator: Any) -> bool:
    """Return True for a network fitted by L-BFGS, which has no rounds and one worker."""
    return estimator.get_params(deep=False).get("solver") == "lbfgs"


def _lbfgs_error(option: str) -> UsageError:
    return UsageError(
        f"--{option} needs --set solver=adam, adamw or sgd for networks; lbfgs uses all rows in each step, on one"
        f" worker. Remove --{option}."
    )


def loss_of(estimator: Any) -> str:
    """Return the name of the loss; that of network classifiers is the cross-entropy."""
    loss = estimator.get_params(deep=False).get("loss")
    return loss if isinstance(loss, str) else "log_loss"


def require_heldout_loss(estimator: Any, model: str) -> None:
    """Raise UsageError for a one-class model, whose loss on held-out rows is undefined."""
    if task_of(estimator) == "outliers":
        raise UsageError(f"--model {model} has no held-out loss; use a classifier or a regressor.")


def make_timed_algorithm(algorithm: str, seconds: float) -> Algorithm:
    """Return the algorithm with rounds of this length."""
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--round-seconds must be a number above 0; got {seconds}.")
    name = "local" if algorithm == "auto" else choose(algorithm, registry.ALGORITHMS, "--algorithm", "parsgd fit")
    cls = registry.load(registry.ALGORITHMS[name])
    if "seconds" not in {setting.name for setting in fields(cls)}:
        raise UsageError(f"--algorithm {name} has no rounds in seconds; remove --round-seconds.")
    return cls(seconds=seconds)


def make_cluster_engine(engine: str, scheduler: str) -> Engine:
    """Return an engine for the cluster with this address or, with Dask, this scheduler file."""
    if engine not in ("dask", "ray"):
        raise UsageError(f"--scheduler {scheduler} needs --engine dask or --engine ray; got --engine {engine}.")
    is_file = engine == "dask" and "://" not in scheduler
    is_file = is_file and (scheduler.endswith(".json") or Path(scheduler).is_file())
    return registry.load(registry.ENGINES[engine])(**{"scheduler_file" if is_file else "address": scheduler})


# -- the rows ----------------------------------------------------------------------------------------------------------


def check_fraction(test_fraction: float) -> None:
    """Raise UsageError for an invalid fraction of test rows."""
    if not 0 <= test_fraction < 1:
        raise UsageError(f"--test-fraction must be at least 0 and below 1, such as 0.2; got {test_fraction:g}.")


def prepare(
    names: Sequence[str],
    learn: LearnOptions,
    estimator: Any,
    console: Console,
    test_fraction: float = 0.0,
    stream: bool | None = False,
) -> FitInputs:
    """Open the data, select the target, split the rows, learn the encoding from the training rows, and encode.

    Rows in memory become arrays, others Datasets that read and encode the rows during the fit.  ``stream=None`` streams
    large data.
    """
    check_fraction(test_fraction)
    task = task_of(estimator)
    data = files.read(names, learn, stream)
    data = target_column.take_target(data, learn.target, needed=task != "outliers")
    test = target_column.clean(data.test, task) if data.test is not None else None
    data = target_column.clean(data, task)
    streamed = data.stream_reason is not None
    mode = f", streamed ({data.stream_reason})" if streamed else ""
    console.print(f"{data.name}: {data.n_rows:,} rows{mode}, {data.n_columns:,} columns", style="bold")
    console.print_notes(data.notes)
    train, mask = data, None
    if test is not None:
        console.print(f"  test set: the {test.n_rows:,} test rows of the file", style="dim")
    elif test_fraction > 0:
        train, test, mask = held_out.divide(data, task, test_fraction, learn.seed)
    target, notes = None, []
    if data.has_targets and not streamed:
        target, notes = data.targets(task)
        console.print_notes(notes)
    kept = slice(None) if mask is None else ~mask
    part = None if target is None else target[kept]
    if task == "classes" and not streamed:
        _check_classes(np.unique(part), data.name)
    if data.is_table:
        labels = "number" if task == "numbers" else data.labels
        pieces = train.dataset.pieces
        encoding, learned = learn_columns.learn_table(pieces, data.schema, data.target, learn, data.name, labels)
    else:
        encoding, learned = learn_columns.learn_sparse(data.dataset, train.dataset, learn)
    console.print_notes(learned)
    known = (encoding, data.n_columns, (*data.notes, *notes, *learned))
    if streamed:
        return _streamed(train, test, task, known)
    rows = modelfile.read_all(data.encoded(encoding, None))
    if test is None:
        return FitInputs(rows, target, None, None, *known)
    if mask is not None:
        return FitInputs(rows[kept], part, rows[mask], None if target is None else target[mask], *known)
    test_target = test.targets(task)[0] if test.has_targets else None
    return FitInputs(rows, target, modelfile.read_all(test.encoded(encoding, None)), test_target, *known)


def _streamed(
    train: files.Data, test: files.Data | None, task: str, known: tuple[Columns, int, tuple[str, ...]]
) -> FitInputs:
    target = None if task == "outliers" else train.target
    rows, tested = (None if part is None else part.encoded(known[0], target) for part in (train, test))
    if task == "classes":
        files.as_targets(rows.classes, task, train.name)
        _check_classes(rows.classes, train.name)
    scored = train if test is None else test
    found = scored.targets(task)[0] if train.has_targets else None
    return FitInputs(rows, found if test is None else None, tested, found, *known)


def _check_classes(classes: np.ndarray, name: str) -> None:
    if len(classes) < 2:
        raise DataFileError(f"{name}: all training rows have the class {classes[0]!r}; two or more classes are needed.")


# -- the fit -----------------------------------------------------------------------------------------------------------


def fit(
    estimator: Any, parts: FitInputs, console: Console, ignored: tuple[type, ...] = (), **arguments: Any
) -> tuple[list[str], float]:
    """Fit with progress; return the warnings, except of the categories ``ignored``, and the seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with console.show_progress() as observer, parsgd.observe_progress(observer):
            target = None if isinstance(parts.rows, Dataset) else parts.target
            call(estimator.fit, parts.rows, target, **arguments)
    seconds = time.perf_counter() - start
    # deprecations concern programmers; the summary reports an interruption
    relevant = [w for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning))]
    if estimator.outcome_ is Outcome.INTERRUPTED:
        relevant = []
    return list(dict.fromkeys(str(w.message) for w in relevant if not issubclass(w.category, ignored))), seconds


def call(fit: Callable[..., Any], *rows: Any, **arguments: Any) -> None:
    """Call a ``fit`` method, and turn an error from a check of scikit-learn into InvalidArgumentError."""
    try:
        fit(*rows, **arguments)
    except ParsgdError:
        raise
    except ValueError as error:
        # such as the check of class_weight
        raise InvalidArgumentError(str(error)) from error
