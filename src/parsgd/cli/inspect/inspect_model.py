"""What a model file holds."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from parsgd.cli.console import Console, scores_in_words
from parsgd.cli.scoring import task_of
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.read_data import list_names
from parsgd.data.columns.column_kinds import Dates, Hashed, Numbers, OneHot, Text
from parsgd.data.columns.encoder import Encoder
from parsgd.model_io import model_files
from parsgd.viz.live.progress_text import duration
from parsgd.viz.report.run_metadata import from_notes

# Of the notes on a run, those that say what it was trained on and how well.
_OF_RUN = ("command", "finished", "data", "rows", "test_rows", "scores", "scored_on", "seconds", "platform")

_KINDS = {Numbers: "number", Dates: "date", OneHot: "category", Hashed: "hashed", Text: "words"}


def model(path: Path, voice: Console) -> dict[str, Any]:
    """The report; told in words, too.  Raises ModelFileError if it is no model file, or damaged."""
    fitted, saved = modelfile.load(path), model_files.open_file(path)
    estimator, history = saved.estimator, getattr(saved.estimator, "history_", [])
    run = saved.notes.get("run")
    run = None if run is None else from_notes(run).notes()
    report = {
        "model": str(path),
        "bytes": path.stat().st_size,
        "written": datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds"),
        "version": saved.version,
        "estimator": type(estimator).__name__,
        "task": task_of(estimator),
        "parameters": {name: str(value) for name, value in changed(estimator).items()},
        "features": int(estimator.n_features_in_),
        "columns": columns(fitted),
        "target": fitted.target,
        "classes": [str(name) for name in getattr(estimator, "classes_", [])],
        "numbers": n_numbers(estimator),
        "epochs": int(estimator.n_iter_),
        "outcome": getattr(getattr(estimator, "outcome_", None), "name", None),
        "algorithm": getattr(getattr(estimator, "algorithm_", None), "name", None),
        "workers": len({worker["worker"] for entry in history for worker in entry["workers"]}) or None,
        "run": None if run is None else {name: run[name] for name in _OF_RUN},
    }
    tell(report, voice)
    return report


def changed(estimator: Any) -> dict[str, Any]:
    """The parameters that are not what they are when nothing is given."""
    plain = type(estimator)().get_params(deep=False)
    given = estimator.get_params(deep=False)
    return {name: value for name, value in given.items() if repr(value) != repr(plain[name])}


def n_numbers(estimator: Any) -> int:
    """How many numbers were learned."""
    parts = estimator.coefs_ if hasattr(estimator, "coefs_") else [estimator.coef_]
    more = estimator.intercepts_ if hasattr(estimator, "intercepts_") else [getattr(estimator, "intercept_", 0.0)]
    return sum(int(np.prod(part.shape)) for part in parts) + sum(int(np.size(part)) for part in more)


def columns(fitted: modelfile.ModelFile) -> dict[str, list[str]] | None:
    """Names of the columns that it takes, by kind; None if it takes them by position."""
    if not isinstance(fitted.columns, Encoder):
        return None
    found: dict[str, list[str]] = {}
    for kind in fitted.columns.kinds:
        found.setdefault(_KINDS[type(kind)], []).extend(kind.names)
    return found


def tell(report: dict[str, Any], voice: Console) -> None:
    """The same in words."""
    run, classes = report["run"] or {}, report["classes"]
    voice.say(f"{report['model']}: {report['estimator']}, {report['bytes']:,} bytes", style="bold")
    voice.say(f"written:    {report['written']} by parsgd {report['version']}")
    if report["target"]:
        voice.say(f"predicts:   {report['target']}")
    if classes:
        voice.say(f"classes:    {list_names(classes, 10)}")
    voice.say(f"numbers:    {report['numbers']:,}, for {report['features']:,} features")
    for kind, names in (report["columns"] or {}).items():
        voice.say(f"{kind + ':':12}{list_names(names, 10)}")
    given = ", ".join(f"{name}={value}" for name, value in report["parameters"].items())
    voice.say(f"given:      {given or 'nothing; all parameters as they are by themselves'}")
    outcome = "" if report["outcome"] is None else f", {report['outcome']}"
    voice.say(f"trained:    {report['epochs']:,} epochs by {report['algorithm'] or 'one worker'}{outcome}")
    if run.get("command"):
        voice.say(f"command:    parsgd {shlex.join(run['command'])}")
    if run.get("data"):
        voice.say(f"on:         {run['data']}, {run.get('rows') or 0:,} rows; finished {run.get('finished')}")
    if run.get("seconds"):
        voice.say(f"time:       {duration(run['seconds'])}")
    if run.get("scores"):
        voice.say(f"score:      {scores_in_words(run['scores'])} on the {run.get('scored_on')} rows")
