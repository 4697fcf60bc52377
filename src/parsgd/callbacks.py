"""Callbacks that write down how a fit gets on: to a CSV file, for TensorBoard, to MLflow.

They follow scikit-learn's protocol, :class:`sklearn.callback.FitCallback`, and are set on an estimator:
``estimator.set_callbacks(CsvLogger(path))``.  They are for the estimators of parsgd, whose ``history_`` they read; in
a pipeline or a search set them on the estimator inside.  One instance may serve many fits, also at the same time, in
threads and in processes.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from parsgd.errors import InvalidArgumentError, MissingDependencyError

__all__ = ["CsvLogger", "MLflowLogger", "TensorBoardLogger"]

# MLflow refuses longer values.
_LONGEST_PARAM = 500
# What is written of an epoch, in this order.
MEASURES = ("epoch", "seconds", "loss", "score", "examples", "examples_per_second", "workers", "lost")


def measures(fitted: Any) -> dict[str, float]:
    """What the history of a fit says of it so far.

    ``epoch`` counts passes over the rows, ``seconds`` are those since the fit began, ``loss`` is the mean over the
    examples of the last round, ``score`` that of the validation rows, NaN if there are none; ``examples`` were visited
    in all, ``workers`` reported last, and ``lost`` tasks were not answered.  Of ``solver="lbfgs"``, which has no
    history, the number of steps and the loss are known.
    """
    history = getattr(fitted, "history_", None)
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
    """One fit: its name, its outermost task, and what is written to.

    ``ended``: it came to its end; ``failed``: nothing more can be written.
    """

    name: str
    root: Any
    sink: Any = None
    ended: bool = False
    failed: bool = False


class _Logger:
    """What the loggers have in common: they hear of the end of each epoch, or of the fit where it has no epochs."""

    def __init__(self) -> None:
        self._runs: dict[Any, _Run] = {}

    def setup(self, estimator: Any, context: Any) -> None:
        """A fit begins."""
        if not any(face.__module__.partition(".")[0] == "parsgd" for face in type(estimator).__mro__):
            raise InvalidArgumentError(
                f"{type(self).__name__} is for the estimators of parsgd, whose history it writes; it was set on"
                f" {type(estimator).__name__}. In a pipeline or a search set it on the estimator inside."
            )
        run = _Run(_name_of(context), context)
        run.sink = self._open(estimator, run.name)
        self._runs[estimator] = run

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing is written yet."""

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        """Write down an epoch."""
        run = self._runs[estimator]
        if fitted_estimator is not None and context.max_subtasks == 0 and not run.failed:
            try:
                self._write(run, measures(fitted_estimator))
            except Exception as error:  # a disk that is full, or a server that is gone
                run.failed = True
                warnings.warn(
                    f"{type(self).__name__} stopped writing: {type(error).__name__}: {error}. The fit goes on.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        run.ended |= context is run.root

    def teardown(self, estimator: Any, context: Any) -> None:
        """The fit is over, or broke off."""
        run = self._runs.pop(estimator, None)
        if run is not None:
            self._close(run)

    def __getstate__(self) -> dict[str, Any]:
        # what is open stays where it is open
        return {**self.__dict__, "_runs": {}}

    # -- what they differ in -------------------------------------------------------------------------------------------

    def _open(self, estimator: Any, run: str) -> Any:
        """What this fit is written to."""
        raise NotImplementedError

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        """Write what is known at the end of an epoch."""
        raise NotImplementedError

    def _close(self, run: _Run) -> None:
        """Close what was opened."""


class CsvLogger(_Logger):
    """A line a fit and epoch in a CSV file, with the columns ``run`` and those of :data:`MEASURES`.

    Lines are added to what is there; ``run`` tells fits apart.  A line is written whole, by one call to the system, so
    that several fits may write at once.  What is not known is left empty.

    Parameters
    ----------
    path : str or path-like
        Made if there is none; its folder must exist.

    Raises
    ------
    InvalidArgumentError
        When a fit begins and the file is another one's, with other columns.
    OSError
        When a fit begins and it cannot be written to.

    Warns
    -----
    RuntimeWarning
        When it can no longer be written to, such as on a disk that is full; the fit goes on.

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
        with open(path, "rb") as file:
            there = file.readline()
        if there != header:
            raise InvalidArgumentError(
                f"CsvLogger(path={os.fspath(self.path)!r}): the file is there, and its first line is not"
                f" {header.decode().strip()!r}. Name another file, or delete this one."
            )
        return path

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        known = (found.get(name, math.nan) for name in MEASURES)
        line = _csv_line((run.name, *("" if math.isnan(value) else value for value in known)))
        # unbuffered: one call to the system
        with open(run.sink, "ab", buffering=0) as file:
            file.write(line)


class TensorBoardLogger(_Logger):
    """Curves of loss, score, speed and so on for TensorBoard, over the number of the epoch.

    Parameters
    ----------
    logdir : str or path-like
        Every fit gets a folder of its own in it, named by the time when it began.

    Raises
    ------
    MissingDependencyError
        Without tensorboardX, which writes the files; TensorBoard itself is not needed.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from parsgd.callbacks import TensorBoardLogger
    >>> model = SGDClassifier().set_callbacks(TensorBoardLogger("runs"))  # doctest: +SKIP
    """

    def __init__(self, logdir: Any):
        super().__init__()
        self.logdir = logdir
        _needs("tensorboardX", "TensorBoardLogger", "tensorboard")

    def _open(self, estimator: Any, run: str) -> Any:
        module = _needs("tensorboardX", "TensorBoardLogger", "tensorboard")
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        return module.SummaryWriter(os.path.join(os.fspath(self.logdir), f"{now}-{type(estimator).__name__}-{run}"))

    def _write(self, run: _Run, found: Mapping[str, float]) -> None:
        for name, value in _curves(found):
            run.sink.add_scalar(name, value, round(found["epoch"]))

    def _close(self, run: _Run) -> None:
        run.sink.close()


class MLflowLogger(_Logger):
    """A run of MLflow for every fit, with the estimator's parameters and a metric for loss, score, speed and so on.

    Where a run is active (``with mlflow.start_run():``), the fit's becomes a child of that one.

    Parameters
    ----------
    experiment : str, default="parsgd"
        Its name; made if there is none.
    tracking_uri : str, optional
        Where the server or the folder is; not given: what MLflow is configured to.

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
        self.experiment, self.tracking_uri = experiment, tracking_uri
        _needs("mlflow", "MLflowLogger", "mlflow")

    def _open(self, estimator: Any, run: str) -> tuple[Any, str]:
        mlflow = _needs("mlflow", "MLflowLogger", "mlflow")
        client, active, tags = mlflow.MlflowClient(self.tracking_uri), mlflow.active_run(), {}
        if active is not None:
            tags["mlflow.parentRunId"] = active.info.run_id
            experiment = active.info.experiment_id
        else:
            found = client.get_experiment_by_name(self.experiment)
            experiment = client.create_experiment(self.experiment) if found is None else found.experiment_id
        made = client.create_run(experiment, tags=tags, run_name=f"{type(estimator).__name__}-{run}").info.run_id
        for key, value in estimator.get_params(deep=False).items():
            client.log_param(made, key, str(value)[:_LONGEST_PARAM])
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
    """A name for a fit: that of the outermost one, and the way from there to this one."""
    way = []
    while context.parent is not None:
        way.append(str(context.task_id))
        context = context.parent
    return ".".join([context.root_uuid.hex[:8], *reversed(way)])


def _needs(module: str, who: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{who} needs {error.name}: pip install 'parsgd[{extra}]'") from error
