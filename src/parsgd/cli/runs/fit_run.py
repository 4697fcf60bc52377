"""``parsgd fit``: read and encode the data, fit, score and save the model, and print a summary."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd import registry
from parsgd.cli.cli_errors import INTERRUPTED, CliExit, UsageError, did_you_mean
from parsgd.cli.console import Console
from parsgd.cli.fit_summary import algorithm_of, print_summary, worker_table
from parsgd.cli.options import checkpoint_options, network_options
from parsgd.cli.options.common_options import MODELS
from parsgd.cli.runs import report_run
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables import learn_columns, modelfile, target_column
from parsgd.cli.tables import read_data as files
from parsgd.data.columns.encoder import Encoder
from parsgd.data.dataset import Dataset
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.data.subsets import part_of
from parsgd.errors import DataFileError, InvalidArgumentError, Outcome, ParsgdError, choose
from parsgd.utils import interrupts


@dataclass(frozen=True)
class FitRequest:
    """The options of ``fit``; also used by ``bench``, ``plan`` and ``simulate``, which save no model.

    ``parameters`` has only the given parameters of the estimator.  ``more`` has the files after ``data``;
    ``stream=None`` streams large data.  ``page`` is the file of the report, ``command`` the command line.
    """

    data: str
    out: Path | None
    model: str
    target: str | None
    parameters: dict[str, Any]
    round_seconds: float | None
    test_fraction: float
    seed: int
    encoding_options: learn_columns.EncodingOptions
    checkpoints: checkpoint_options.CheckpointRequest = field(default_factory=checkpoint_options.CheckpointRequest)
    scheduler: str | None = None
    more: tuple[str, ...] = ()
    stream: bool | None = False
    page: Path | None = None
    command: tuple[str, ...] = ()


@dataclass
class FitInputs:
    """Encoded training and test rows; ``test_rows`` is None without a test set.

    ``columns`` is the number of columns before encoding; ``notes`` describe the data and the encoding.
    """

    rows: Any
    target: np.ndarray | None
    test_rows: Any
    test_target: np.ndarray | None
    encoding: Encoder | SvmlightColumns | None
    columns: int | None = None
    notes: tuple[str, ...] = ()


def run(request: FitRequest, console: Console) -> dict[str, Any]:
    """Run the command and return the report that ``--json`` prints."""
    estimator = make_estimator(request)
    check_request(request)
    check_out(request.out)
    report_run.check(request.page, request.out)
    parts = prepare(request, estimator, console)
    with interrupts.returning() as hold:
        messages, seconds = fit(estimator, parts, console, **request.checkpoints.arguments())
        # before scoring, so that a later error does not lose the model
        modelfile.save(request.out, estimator, parts.encoding, request.target)
    try:
        if hold.presses and estimator.outcome_ is not Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        return finish(request, estimator, parts, messages, seconds, console)
    except KeyboardInterrupt as error:
        raise CliExit(f"Interrupted: the model was saved to {request.out}, but not scored.", INTERRUPTED) from error


def finish(
    request: FitRequest, estimator: Any, parts: FitInputs, messages: list[str], seconds: float, console: Console
) -> dict[str, Any]:
    """Score the model, save it again with the metadata of the run, and return the report."""
    scored_on = "training" if parts.test_rows is None else "test"
    rows, target = (parts.rows, parts.target) if scored_on == "training" else (parts.test_rows, parts.test_target)
    scores = score(estimator, rows, target)
    report = {
        "model": str(request.out),
        "estimator": type(estimator).__name__,
        "rows": {"training": parts.rows.shape[0], "test": 0 if parts.test_rows is None else parts.test_rows.shape[0]},
        "features": int(estimator.n_features_in_),
        "scored_on": scored_on,
        "scores": scores,
        "seconds": seconds,
        "epochs": int(estimator.n_iter_),
        "outcome": estimator.outcome_.name,
        "resumed_from": getattr(estimator, "resumed_from_", None),
        "algorithm": algorithm_of(estimator),
        "workers": worker_table(getattr(estimator, "history_", [])),
        "warnings": messages,
    }
    notes = report_run.notes_of(request, parts, report)
    modelfile.save(request.out, estimator, parts.encoding, request.target, notes)
    checkpoint_options.print_resumption(request.checkpoints, estimator, console)
    print_summary(report, estimator.outcome_, console)
    if request.page is not None:
        report_run.write(request.out, request.page)
        console.print(f"report:     {request.page}")
    return report


def make_estimator(request: FitRequest) -> Any:
    """Create the estimator with the given parameters; raise an error for invalid ones before data are read."""
    choose(request.model, MODELS, "--model", "parsgd fit")
    model, parameters = network_options.model_parameters(request.model, request.parameters)
    name = MODELS[model]
    estimator = getattr(parsgd, name)()
    allowed = set(estimator.get_params())
    for parameter in parameters:
        if parameter not in allowed:
            hint = did_you_mean(parameter, allowed)
            raise UsageError(f"{model} has no {parameter}.{hint} Its parameters are {', '.join(sorted(allowed))}.")
    estimator.set_params(**parameters, random_state=request.seed, **request.checkpoints.parameters())
    if request.scheduler is not None:
        estimator.set_params(engine=on_scheduler(estimator.engine, request.scheduler))
    if request.round_seconds is not None:
        network_options.check_rounds(estimator)
        estimator.set_params(algorithm=timed(estimator.algorithm, request.round_seconds))
    estimator._check_parameters()
    choose(getattr(estimator.algorithm, "name", estimator.algorithm), ["auto", *registry.ALGORITHMS], "algorithm", name)
    engine = getattr(estimator.engine, "name", estimator.engine)
    choose(engine, ["auto", *registry.ENGINES], "engine", name)
    if estimator.n_jobs == 0:
        raise InvalidArgumentError("--workers must not be 0; 1 is serial, -1 uses all cores.")
    return estimator


def timed(algorithm: str, seconds: float) -> Any:
    """Return the algorithm with rounds of this length."""
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--round-seconds must be a number above 0; got {seconds}.")
    name = "local" if algorithm == "auto" else choose(algorithm, registry.ALGORITHMS, "--algorithm", "parsgd fit")
    cls = registry.load(registry.ALGORITHMS[name])
    if "seconds" not in {setting.name for setting in fields(cls)}:
        raise UsageError(f"--algorithm {name} has no rounds in seconds; remove --round-seconds.")
    return cls(seconds=seconds)


def on_scheduler(engine: Any, scheduler: str) -> Any:
    """Return a Dask engine for the scheduler with this address or scheduler file."""
    if engine != "dask":
        raise UsageError(f"--scheduler {scheduler} needs --engine dask; got --engine {engine}.")
    is_file = "://" not in scheduler and (scheduler.endswith(".json") or Path(scheduler).is_file())
    return registry.load(registry.ENGINES["dask"])(**{"scheduler_file" if is_file else "address": scheduler})


def check_request(request: FitRequest) -> None:
    """Raise UsageError for an invalid test fraction or number of categories."""
    if not 0 <= request.test_fraction < 1:
        raise UsageError(f"--test-fraction must be at least 0 and below 1, such as 0.2; got {request.test_fraction:g}.")
    if request.encoding_options.max_categories < 2:
        raise UsageError(f"--max-categories must be 2 or more; got {request.encoding_options.max_categories}.")


def check_out(out: Path) -> None:
    """Raise UsageError before the fit if the model file cannot be written."""
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it, such as {out / 'model.parsgd'}.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} does not exist; create it: mkdir -p {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write to {out.parent}; use another folder.")


def prepare(request: FitRequest, estimator: Any, console: Console) -> FitInputs:
    """Open the data, select the target, split the rows, learn the encoding from the training rows, and encode."""
    task, names = task_of(estimator), (request.data, *request.more)
    data = files.read(names, request.encoding_options, request.stream)
    data = target_column.take_target(data, request.target, needed=task != "outliers")
    test = target_column.clean(data.test, task) if data.test is not None else None
    data = target_column.clean(data, task)
    mode = "" if data.stream_reason is None else f", streamed ({data.stream_reason})"
    console.print(f"{data.name}: {data.n_rows:,} rows{mode}, {data.n_columns:,} columns", style="bold")
    console.print_notes(data.notes)
    if test is not None:
        console.print(f"  test set: the {test.n_rows:,} test rows of the file", style="dim")
    make = streamed if data.stream_reason is not None else in_memory
    return make(data, test, request, task, console)


def learn(data: files.Data, train: Dataset, request: FitRequest, task: str, console: Console) -> tuple[Any, list[str]]:
    """Learn the encoding from the training rows; return it with notes about the columns."""
    if not data.is_table:
        encoding, notes = learn_columns.learn_sparse(data.dataset, train, request.encoding_options)
    else:
        labels = "number" if task == "numbers" else data.labels
        encoding, notes = learn_columns.learn_table(
            train.pieces, data.schema, data.target, request.encoding_options, data.name, labels
        )
    console.print_notes(notes)
    return encoding, notes


def in_memory(data: files.Data, test: files.Data | None, request: FitRequest, task: str, console: Console) -> FitInputs:
    """Encode all rows as arrays."""
    target, notes = (None, []) if data.target is None and data.is_table else data.targets(task)
    console.print_notes(notes)
    train, held = np.arange(data.n_rows), None
    if test is None and request.test_fraction > 0:
        train, held = split(data.name, data.n_rows, target, request, stratify=task == "classes")
    if task == "classes" and len(np.unique(target[train])) < 2:
        raise DataFileError(
            f"{data.name}: all training rows have the class {target[0]!r}; two or more classes are needed."
        )
    encoding, done = learn(data, subset(data.dataset, train), request, task, console)
    rows = all_rows(data.encoded(encoding, None))
    part = None if target is None else target[train]
    if test is not None:
        tested, test_target = all_rows(test.encoded(encoding, None)), test.targets(task)[0]
    else:
        tested = None if held is None else rows[held]
        test_target = None if held is None or target is None else target[held]
    notes = (*data.notes, *notes, *done)
    return FitInputs(rows[train], part, tested, test_target, encoding, data.n_columns, notes)


def streamed(data: files.Data, test: files.Data | None, request: FitRequest, task: str, console: Console) -> FitInputs:
    """Return Datasets that read and encode the rows during the fit."""
    rest, held = data.dataset, None
    if request.test_fraction > 0:
        rest, held = data.dataset.split(request.test_fraction, request.seed)
        if not held.n_rows or not rest.n_rows:
            raise DataFileError(f"{data.name}: too few rows for a test set; use more rows or --test-fraction 0.")
    encoding, done = learn(data, rest, request, task, console)
    target = None if task == "outliers" else data.target
    train, tested = (
        None if part is None else replace(data, dataset=part).encoded(encoding, target) for part in (rest, held)
    )
    if task == "classes":
        files.as_targets(train.classes, task, data.name)
        if len(train.classes) < 2:
            raise DataFileError(
                f"{data.name}: all training rows have the class {train.classes[0]!r}; two or more are needed."
            )
    scored = replace(data, dataset=rest if held is None else held)
    found = None if data.target is None and data.is_table else scored.targets(task)[0]
    notes = (*data.notes, *done)
    return FitInputs(train, found if held is None else None, tested, found, encoding, data.n_columns, notes)


def all_rows(dataset: Dataset) -> Any:
    """Return the rows of a Dataset as one array or CSR matrix."""
    (block,) = dataset.without_targets().blocks(dataset.n_rows)
    return block.x


def subset(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """Return the rows with these indices."""
    mask = np.zeros(dataset.n_rows, dtype=bool)
    mask[rows] = True
    ends = np.cumsum([piece.n_rows for piece in dataset.pieces])
    parts = (part_of(piece, mask[end - piece.n_rows : end]) for piece, end in zip(dataset.pieces, ends, strict=True))
    return replace(dataset, pieces=tuple(part for part in parts if part.n_rows))


def split(
    name: str, n_rows: int, target: np.ndarray | None, request: FitRequest, stratify: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of training and test rows; ``stratify`` by class if every class has enough rows."""
    from sklearn.model_selection import train_test_split

    n_test = round(n_rows * request.test_fraction)
    if n_test < 1 or n_rows - n_test < 2:
        raise DataFileError(
            f"{name}: {n_rows} rows are too few for a test set of {request.test_fraction:.0%}."
            " Use more rows, or --test-fraction 0."
        )
    labels = None
    if stratify:
        _, counts = np.unique(target, return_counts=True)
        labels = target if counts.min() >= 2 and min(n_test, n_rows - n_test) >= len(counts) else None
    rows = np.arange(n_rows)
    train, test = train_test_split(rows, test_size=n_test, random_state=request.seed, stratify=labels)
    return np.sort(train), np.sort(test)


def fit(
    estimator: Any, parts: FitInputs, console: Console, ignored: tuple[type, ...] = (), **arguments: Any
) -> tuple[list[str], float]:
    """Fit with progress; return the warnings, except of the categories ``ignored``, and the seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with console.progress() as observer, parsgd.observe_progress(observer):
            _fit_or_explain(estimator, parts, arguments)
    seconds = time.perf_counter() - start
    # deprecations concern programmers; the summary reports an interruption
    caught = [w for w in caught if not issubclass(w.category, ignored)]
    relevant = (w for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning)))
    messages = [str(w.message) for w in relevant if estimator.outcome_ is not Outcome.INTERRUPTED]
    return list(dict.fromkeys(messages)), seconds


def _fit_or_explain(estimator: Any, parts: FitInputs, arguments: dict[str, Any]) -> None:
    try:
        target = None if isinstance(parts.rows, Dataset) else parts.target
        estimator.fit(parts.rows, target, **arguments)
    except ParsgdError:
        raise
    except ValueError as error:
        # a check of scikit-learn, such as that of class_weight
        raise InvalidArgumentError(str(error)) from error
