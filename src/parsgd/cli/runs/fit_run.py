"""``parsgd fit``: read, encode, fit, score, save, and say what happened."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd import registry
from parsgd.cli.cli_errors import INTERRUPTED, CliExit, UsageError, did_you_mean
from parsgd.cli.console import Console
from parsgd.cli.fit_summary import algorithm_of, tell, worker_table
from parsgd.cli.options import checkpoint_options, network_options
from parsgd.cli.options.common_options import MODELS
from parsgd.cli.runs import report_run
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables import encoding as encodings
from parsgd.cli.tables import modelfile, streamed_tables
from parsgd.cli.tables import read_data as files
from parsgd.cli.tables.file_readers import Data
from parsgd.data.dataset import Dataset
from parsgd.errors import DataFileError, InvalidArgumentError, Outcome, ParsgdError, choose
from parsgd.utils import interrupts


@dataclass(frozen=True)
class FitRequest:
    """What the user asked ``fit`` for; ``parameters`` are those of the estimator that were given, ``more`` are files
    besides ``data``, and ``stream`` says whether they are streamed; None: if they are large.

    ``simulate`` asks for the same, but for ``out``: it saves no model; and it streams nothing.  ``page`` is where to
    write a report, and ``command`` what was typed.
    """

    data: str
    out: Path | None
    model: str
    target: str | None
    parameters: dict[str, Any]
    round_seconds: float | None
    test_fraction: float
    seed: int
    choices: encodings.EncodingOptions
    kept: checkpoint_options.CheckpointRequest = field(default_factory=checkpoint_options.CheckpointRequest)
    scheduler: str | None = None
    more: tuple[str, ...] = ()
    stream: bool | None = False
    page: Path | None = None
    command: tuple[str, ...] = ()


@dataclass
class FitInputs:
    """Rows to train and to test on, encoded; ``test_rows`` is None if there are none.

    ``columns`` is what the data had, ``said`` what was done to them.
    """

    rows: Any
    target: np.ndarray | None
    test_rows: Any
    test_target: np.ndarray | None
    encoding: encodings.Encoding
    columns: int | None = None
    said: tuple[str, ...] = ()


def run(request: FitRequest, voice: Console) -> dict[str, Any]:
    """Do what was asked; return the report that ``--json`` prints."""
    estimator = make_estimator(request)
    check_request(request)
    check_out(request.out)
    report_run.check(request.page, request.out)
    parts = prepare(request, estimator, voice)
    with interrupts.returning() as hold:
        told, seconds = fit(estimator, parts, voice, **request.kept.arguments())
        # saved first: whatever goes wrong from here on, the work is not lost
        modelfile.save(request.out, estimator, parts.encoding, request.target)
    try:
        if hold.presses and estimator.outcome_ is not Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        return finish(request, estimator, parts, told, seconds, voice)
    except KeyboardInterrupt as error:
        raise CliExit(f"Interrupted: the model was saved to {request.out}, but not scored.", INTERRUPTED) from error


def finish(
    request: FitRequest, estimator: Any, parts: FitInputs, told: list[str], seconds: float, voice: Console
) -> dict[str, Any]:  # fmt: skip
    """Score the model, save it once more with a record of the run, and return the report."""
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
        "warnings": told,
    }
    # and again, with what is known now
    notes = report_run.notes_of(request, parts, report)
    modelfile.save(request.out, estimator, parts.encoding, request.target, notes)
    checkpoint_options.tell(request.kept, estimator, voice)
    tell(report, estimator.outcome_, voice)
    if request.page is not None:
        report_run.write(request.out, request.page)
        voice.say(f"report:     {request.page}")
    return report


def make_estimator(request: FitRequest) -> Any:
    """The estimator with the given parameters; refuses what it does not take before any data are read."""
    choose(request.model, MODELS, "--model", "parsgd fit")
    model, parameters = network_options.understood(request.model, request.parameters)
    name = MODELS[model]
    estimator = getattr(parsgd, name)()
    allowed = set(estimator.get_params())
    for parameter in parameters:
        if parameter not in allowed:
            hint = did_you_mean(parameter, allowed)
            raise UsageError(f"{model} has no {parameter}.{hint} It has {', '.join(sorted(allowed))}.")
    estimator.set_params(**parameters, random_state=request.seed, **request.kept.parameters())
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
        raise InvalidArgumentError("--workers must not be 0: 1 is serial, -1 uses all cores.")
    return estimator


def timed(algorithm: str, seconds: float) -> Any:
    """The algorithm with rounds of so many seconds."""
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--round-seconds must be a number above 0; got {seconds}.")
    name = "local" if algorithm == "auto" else choose(algorithm, registry.ALGORITHMS, "--algorithm", "parsgd fit")
    cls = registry.load(registry.ALGORITHMS[name])
    if "seconds" not in {setting.name for setting in fields(cls)}:
        raise UsageError(f"--algorithm {name} has no rounds that are counted in seconds; leave out --round-seconds.")
    return cls(seconds=seconds)


def on_scheduler(engine: Any, where: str) -> Any:
    """The engine on the cluster at this address, or whose scheduler writes its address into this file."""
    if engine != "dask":
        raise UsageError(f"--scheduler {where} is for --engine dask; got --engine {engine}.")
    is_file = "://" not in where and (where.endswith(".json") or Path(where).is_file())
    return registry.load(registry.ENGINES["dask"])(**{"scheduler_file" if is_file else "address": where})


def check_request(request: FitRequest) -> None:
    """Refuse a share of test rows that is none."""
    if not 0 <= request.test_fraction < 1:
        raise UsageError(f"--test-fraction must be from 0 to below 1, such as 0.2; got {request.test_fraction:g}.")
    if request.choices.max_categories < 2:
        raise UsageError(f"--max-categories must be 2 or more; got {request.choices.max_categories}.")


def check_out(out: Path) -> None:
    """Find out before hours of work, not after, that the model cannot be written."""
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it, such as {out / 'model.parsgd'}.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}; make it first: mkdir -p {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: you may not write into {out.parent}; choose another folder.")


def prepare(request: FitRequest, estimator: Any, voice: Console) -> FitInputs:
    """Read, take the target, split, and learn the encoding from the training rows."""
    task, names = task_of(estimator), (request.data, *request.more)
    why = streamed_tables.why(names, request.stream)
    if why is not None:
        return prepare_stream(request, estimator, names, why, voice)
    data = files.read(request.data, as_text=request.choices.categorical)
    data = files.take_target(data, request.target, needed=task != "outliers")
    test = files.clean(data.test, task) if data.test is not None else None
    data = files.clean(data, task)
    voice.say(f"{data.name}: {data.n_rows:,} rows, {data.features.shape[1]:,} columns", style="bold")
    voice.points(data.said)
    columns, heard = data.features.shape[1], data.said
    if test is None:
        data, test = split(data, request.test_fraction, request.seed, stratify=task == "classes")
    else:
        voice.say(f"  the {test.n_rows:,} rows that the file keeps for testing are the test set", style="dim")
    if task == "classes" and len(np.unique(data.target)) < 2:
        raise DataFileError(f"{data.name}: all training rows are of class {data.target[0]!r}; two or more are needed.")
    encoding, said = encodings.learn(data, request.choices)
    voice.points(said)
    test_rows = encoding.apply(test) if test is not None else None
    test_target = test.target if test is not None else None
    return FitInputs(encoding.apply(data), data.target, test_rows, test_target, encoding, columns, (*heard, *said))


def prepare_stream(request: FitRequest, estimator: Any, names: tuple[str, ...], why: str, voice: Console) -> FitInputs:
    """Open the data that are to be streamed, and keep rows apart to test on."""
    task = task_of(estimator)
    if task == "outliers" and request.target is not None:
        raise UsageError(f"--target {request.target}: streamed data are fitted without a target by {request.model}.")
    dataset, encoding, said = streamed_tables.opened(names, request.target, request.choices)
    voice.say(f"{dataset.name}: {dataset.n_rows:,} rows, streamed ({why})", style="bold")
    voice.points(said)
    if task != "outliers" and not dataset.target:
        raise DataFileError(f"{dataset.name}: name the column to predict, --target COLUMN.")
    test = None
    if request.test_fraction > 0:
        dataset, test = dataset.split(request.test_fraction, request.seed)
        if not test.n_rows or not dataset.n_rows:
            raise DataFileError(f"{dataset.name}: too few rows to keep some for testing; use --test-fraction 0.")
    if task == "classes" and len(dataset.classes) < 2:
        raise DataFileError(f"{dataset.name}: all rows are of class {dataset.classes[0]!r}; two or more are needed.")
    scored = dataset if test is None else test
    target = streamed_tables.targets_of(scored) if scored.target else None
    return FitInputs(dataset, target if test is None else None, test, target, encoding, said=tuple(said))


def split(data: Data, fraction: float, seed: int, stratify: bool) -> tuple[Data, Data | None]:
    """Random training and test rows; with classes, the same share of each class in both where that is possible."""
    from sklearn.model_selection import train_test_split

    if fraction == 0:
        return data, None
    n_test = round(data.n_rows * fraction)
    if n_test < 1 or data.n_rows - n_test < 2:
        raise DataFileError(
            f"{data.name}: {data.n_rows} rows are too few to keep {fraction:.0%} of them for testing."
            " Give it more rows, or use --test-fraction 0."
        )
    labels = None
    if stratify:
        _, counts = np.unique(data.target, return_counts=True)
        labels = data.target if counts.min() >= 2 and min(n_test, data.n_rows - n_test) >= len(counts) else None
    train, test = train_test_split(np.arange(data.n_rows), test_size=n_test, random_state=seed, stratify=labels)
    return part(data, np.sort(train)), part(data, np.sort(test))


def part(data: Data, numbers: np.ndarray) -> Data:
    """The rows with these numbers."""
    return Data(data.name, files.rows(data.features, numbers), None if data.target is None else data.target[numbers])


def fit(
    estimator: Any, parts: FitInputs, voice: Console, unheard: tuple[type, ...] = (), **arguments: Any
) -> tuple[list[str], float]:  # fmt: skip
    """Fit with progress; return what was warned of, but for the categories ``unheard``, and how long it took."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with voice.progress() as observer, parsgd.observe_progress(observer):
            _fit_or_explain(estimator, parts, arguments)
    seconds = time.perf_counter() - began
    # deprecations are for programmers, and an interrupted fit is told of in full later
    caught = [w for w in caught if not issubclass(w.category, unheard)]
    relevant = (w for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning)))
    told = [str(w.message) for w in relevant if estimator.outcome_ is not Outcome.INTERRUPTED]
    return list(dict.fromkeys(told)), seconds


def _fit_or_explain(estimator: Any, parts: FitInputs, arguments: dict[str, Any]) -> None:
    try:
        target = None if isinstance(parts.rows, Dataset) else parts.target
        estimator.fit(parts.rows, target, **arguments)
    except ParsgdError:
        raise
    except ValueError as error:
        # scikit-learn's own checks, such as that of class_weight
        raise InvalidArgumentError(str(error)) from error
