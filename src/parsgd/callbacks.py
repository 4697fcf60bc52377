"""Callbacks that log the progress of a fit to a CSV file, TensorBoard or MLflow.

They follow scikit-learn's protocol, :class:`sklearn.callback.FitCallback`, and are set on an estimator:
``estimator.set_callbacks(CsvLogger(path))``.  They support parsgd's estimators, whose ``history_`` they read.  In a
pipeline or a search, set them on the inner estimator.  One instance can log many fits, even concurrent ones in threads
and in processes.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError

__all__ = ["CsvLogger", "MLflowLogger", "TensorBoardLogger"]

# MLflow rejects longer values.
_MAX_PARAM_LENGTH = 500
# How often, and at which interval, the header of a log that another process is creating is read.
_HEADER_ATTEMPTS, _HEADER_SECONDS = 50, 0.02
# Columns of a logged epoch, in order.
MEASURES = ("epoch", "seconds", "loss", "score", "examples", "examples_per_second", "workers", "lost")


def measures(fitted: Any) -> dict[str, float]:
    """Return the measures of a fit so far, from its history.

    - ``epoch``: passes over the rows.
    - ``seconds``: time since the start of the fit.
    - ``loss``: mean over the examples of the last round.
    - ``score``: score on the validation rows, NaN without any.
    - ``examples``: examples visited in total.
    - ``workers``: reports in the last round.
    - ``lost``: tasks without a report.

    ``solver="lbfgs"`` has no history; its measures are the number of steps and the loss.
    """
    history = vars(fitted).get("history_")
    if not history:
        return {"epoch": float(fitted.n_iter_), "loss": float(fitted.loss_)}
    last = history[-1]
    examples = sum(worker["examples"] for entry in history for worker in entry["workers"])
    return {
        "epoch": float(last["epoch"]),
        "seconds": float(last["seconds"]),
        "loss": float(last["loss"]),
        "score": math.nan if last["score"] is None else float(last["score"]),
        "examples": examples,
        "examples_per_second": examples / max(last["seconds"], 1e-9),
        "workers": len(last["workers"]),
        "lost": sum(len(entry["lost"]) for entry in history),
    }


@dataclass
class _Run:
    """One fit, its log, and whether it is complete or logging has failed."""

    name: str
    root: Any
    sink: Any = None
    ended: bool = False
    failed: bool = False


class _Logger:
    """Base of the loggers: writes at the end of each epoch, or of a fit without epochs."""

    def __init__(self) -> None:
        self._runs: dict[Any, _Run] = {}

    def setup(self, estimator: Any, context: Any) -> None:
        """Open the log at the start of a fit."""
        if not any(cls.__module__.partition(".")[0] == "parsgd" for cls in type(estimator).__mro__):
            raise InvalidArgumentError(
                f"{type(self).__name__} logs the history of parsgd's estimators; it was set on"
                f" {type(estimator).__name__}. In a pipeline or a search, set it on the inner estimator."
            )
        run = _Run(_name_of(context), context)
        run.sink = self._open(estimator, run.name)
        self._runs[estimator] = run

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing at the start of a task."""

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        """Log an epoch."""
        run = self._runs[estimator]
        if fitted_estimator is not None and context.max_subtasks == 0 and not run.failed:
            try:
                self._write(run, measures(fitted_estimator))
            except Exception as error:  # such as a full disk or an unreachable server
                run.failed = True
                warnings.warn(
                    f"{type(self).__name__} stopped writing: {type(error).__name__}: {error}. The fit continues.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        run.ended |= context is run.root

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the log after a complete or an interrupted fit."""
        run = self._runs.pop(estimator, None)
        if run is not None:
            self._close(run)

    def __getstate__(self) -> dict[str, Any]:
        # open logs stay in the process that opened them
        return {**self.__dict__, "_runs": {}}

    def _open(self, estimator: Any, run: str) -> Any:
        """Open the log of a fit and return it."""
        raise NotImplementedError

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        """Write the measures of an epoch."""
        raise NotImplementedError

    def _close(self, run: _Run) -> None:
        """Close the log."""


class CsvLogger(_Logger):
    """Logger that appends a line per epoch to a CSV file, with ``run`` and the columns of :data:`MEASURES`.

    ``run`` identifies the fit.  Each line is written by one system call, so several fits may write concurrently.
    Unknown values are empty.

    Parameters
    ----------
    path : str or path-like
        File to append to, created if missing; its folder must exist.

    Raises
    ------
    InvalidArgumentError
        At the start of a fit, if the file has other columns.
    OSError
        At the start of a fit, if the file is not writable.

    Warns
    -----
    RuntimeWarning
        If writing fails later, such as on a full disk; the fit continues.

    Examples
    --------
    >>> import tempfile, os
    >>> import pandas as pd
    >>> from parsgd import SGDClassifier
    >>> from parsgd.callbacks import CsvLogger
    >>> from sklearn.datasets import load_iris
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     model = SGDClassifier(max_iter=3, tol=None, random_state=0).set_callbacks(CsvLogger(path))
    ...     _ = model.fit(*load_iris(return_X_y=True))
    ...     table = pd.read_csv(path)
    >>> table["epoch"].tolist(), table["examples"].tolist()
    ([1.0, 2.0, 3.0], [150, 300, 450])
    """

    def __init__(self, path: Any):
        super().__init__()
        self.path = path

    def _open(self, estimator: Any, run: str) -> Path:
        path, header = Path(self.path), _csv_line(("run", *MEASURES))
        with contextlib.suppress(FileExistsError), open(path, "xb") as file:
            file.write(header)
        for _ in range(_HEADER_ATTEMPTS):
            with open(path, "rb") as file:
                first_line = file.readline()
            if first_line == header or not header.startswith(first_line):
                break
            # another process has just created the file, and is about to write the header
            time.sleep(_HEADER_SECONDS)
        if first_line != header:
            raise InvalidArgumentError(
                f"CsvLogger(path={os.fspath(self.path)!r}): the file exists, and its first line is not"
                f" {header.decode().strip()!r}. Name another file, or delete this one."
            )
        return path

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        known = (found.get(name, math.nan) for name in MEASURES)
        line = _csv_line((run.name, *("" if math.isnan(value) else value for value in known)))
        # unbuffered: one system call per line
        with open(run.sink, "ab", buffering=0) as file:
            file.write(line)


class TensorBoardLogger(_Logger):
    """Logger for TensorBoard: loss, score, speed and the other measures, by epoch.

    Parameters
    ----------
    logdir : str or path-like
        Folder of the logs; every fit gets a subfolder named by its start time.

    Raises
    ------
    MissingDependencyError
        Without tensorboardX, which writes the files; TensorBoard itself is not required.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.callbacks import TensorBoardLogger
    >>> model = SGDClassifier().set_callbacks(TensorBoardLogger("runs"))  # doctest: +SKIP
    """

    def __init__(self, logdir: Any):
        super().__init__()
        self.logdir = logdir
        _import_optional("tensorboardX", "TensorBoardLogger")

    def _open(self, estimator: Any, run: str) -> Any:
        module = _import_optional("tensorboardX", "TensorBoardLogger")
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        return module.SummaryWriter(os.path.join(os.fspath(self.logdir), f"{now}-{type(estimator).__name__}-{run}"))

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        for name, value in _curves(found):
            run.sink.add_scalar(name, value, round(found["epoch"]))

    def _close(self, run: _Run) -> None:
        run.sink.close()


class MLflowLogger(_Logger):
    """Logger for MLflow: one run per fit, with the estimator's parameters and metrics for all measures.

    If a run is active (``with mlflow.start_run():``), the fit's run becomes its child.

    Parameters
    ----------
    experiment : str, default="parsgd"
        Name of the experiment, created if missing.
    tracking_uri : str, optional
        Server or folder.  Default: MLflow's configuration.

    Raises
    ------
    MissingDependencyError
        Without mlflow or mlflow-skinny.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.callbacks import MLflowLogger
    >>> model = SGDClassifier().set_callbacks(MLflowLogger("digits"))  # doctest: +SKIP
    """

    def __init__(self, experiment: str = "parsgd", tracking_uri: str | None = None):
        super().__init__()
        self.experiment: str = experiment
        self.tracking_uri: str | None = tracking_uri
        _import_optional("mlflow", "MLflowLogger")

    def _open(self, estimator: Any, run: str) -> tuple[Any, str]:
        mlflow = _import_optional("mlflow", "MLflowLogger")
        client, active, tags = mlflow.MlflowClient(self.tracking_uri), mlflow.active_run(), {}
        if active is not None:
            tags["mlflow.parentRunId"], experiment = active.info.run_id, active.info.experiment_id
        else:
            found = client.get_experiment_by_name(self.experiment)
            experiment = client.create_experiment(self.experiment) if found is None else found.experiment_id
        made = client.create_run(experiment, tags=tags, run_name=f"{type(estimator).__name__}-{run}").info.run_id
        for key, value in estimator.get_params(deep=False).items():
            client.log_param(made, key, str(value)[:_MAX_PARAM_LENGTH])
        return client, made

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        client, made = run.sink
        for key, value in _curves(found):
            client.log_metric(made, key, value, step=round(found["epoch"]))

    def _close(self, run: _Run) -> None:
        client, made = run.sink
        client.set_terminated(made, "FINISHED" if run.ended else "FAILED")


def _curves(found: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in found.items() if name != "epoch" and not math.isnan(value)]


def _csv_line(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _name_of(context: Any) -> str:
    """Return a name for a fit: that of the outermost task and the path of task ids from there."""
    path = []
    while context.parent is not None:
        path.append(str(context.task_id))
        context = context.parent
    return ".".join([context.root_uuid.hex[:8], *reversed(path)])


def _import_optional(module: str, owner: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        extra = owner.removesuffix("Logger").lower()
        raise MissingDependencyError(f"{owner} needs {error.name}: pip install 'parsgd[{extra}]'") from error
