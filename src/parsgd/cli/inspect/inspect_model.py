"""The description of a model file for ``parsgd info``."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path
from typing import Any

from parsgd.cli.console import Console
from parsgd.cli.scoring import task_of
from parsgd.cli.tables import modelfile
from parsgd.data.columns.column_kinds import Dates, HashedCategories, Numeric, OneHot, Text
from parsgd.data.columns.column_specs import listed
from parsgd.data.columns.encoder import Encoder
from parsgd.estimators.kinds import kind_of
from parsgd.model_io import model_files
from parsgd.viz import number_format
from parsgd.viz.report.run_metadata import from_notes

# Fields of the run metadata that the report repeats.
_RUN_FIELDS = ("command", "finished", "data", "rows", "test_rows", "scores", "scored_on", "seconds", "platform")

_KINDS = {Numeric: "number", Dates: "date", OneHot: "category", HashedCategories: "hashed", Text: "words"}


def describe_model(path: Path, console: Console) -> dict[str, Any]:
    """Print and return the report; raise ModelFileError for other or damaged files."""
    fitted, saved = modelfile.load(path), model_files.open_file(path)
    estimator, learned = saved.estimator, vars(saved.estimator)
    outcome, choice, history = (learned.get(name) for name in ("outcome_", "algorithm_", "history_"))
    run = saved.notes.get("run")
    run = None if run is None else from_notes(run).notes()
    report = {
        "model": str(path),
        "bytes": path.stat().st_size,
        "written": datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds"),
        "version": saved.version,
        "estimator": type(estimator).__name__,
        "task": task_of(estimator),
        "parameters": list_changed_parameters(estimator),
        "features": int(estimator.n_features_in_),
        "columns": list_columns(fitted),
        "target": fitted.target,
        "classes": [str(name) for name in learned.get("classes_", [])],
        "numbers": kind_of(estimator).n_parameters(estimator),
        "epochs": int(estimator.n_iter_),
        "outcome": None if outcome is None else outcome.name,
        "algorithm": None if choice is None else choice.name,
        "workers": len({worker["worker"] for entry in history or () for worker in entry["workers"]}) or None,
        "run": None if run is None else {name: run[name] for name in _RUN_FIELDS},
    }
    print_report(report, console)
    return report


def list_changed_parameters(estimator: Any) -> dict[str, str]:
    """Return the parameters that differ from their defaults."""
    defaults, given = (one.get_params(deep=False) for one in (type(estimator)(), estimator))
    return {name: str(value) for name, value in given.items() if repr(value) != repr(defaults[name])}


def list_columns(fitted: modelfile.ModelFile) -> dict[str, list[str]] | None:
    """Return the names of the input columns by kind, or None if columns are identified by position."""
    if not isinstance(fitted.columns, Encoder):
        return None
    found: dict[str, list[str]] = {}
    for kind in fitted.columns.kinds:
        found.setdefault(_KINDS[type(kind)], []).extend(kind.names)
    return found


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the report."""
    run = report["run"] or dict.fromkeys(_RUN_FIELDS)
    console.print(f"{report['model']}: {report['estimator']}, {report['bytes']:,} bytes", style="bold")
    facts = {
        "written": f"{report['written']} by parsgd {report['version']}",
        "predicts": report["target"],
        "classes": listed(report["classes"], 10),
        "numbers": f"{report['numbers']:,}, for {report['features']:,} features",
        **{kind: listed(names, 10) for kind, names in (report["columns"] or {}).items()},
    }
    given = ", ".join(f"{name}={value}" for name, value in report["parameters"].items())
    outcome = "" if report["outcome"] is None else f", {report['outcome']}"
    facts |= {
        "parameters": given or "all parameters have their defaults",
        "trained": f"{report['epochs']:,} epochs by {report['algorithm'] or 'one worker'}{outcome}",
        "command": run["command"] and f"parsgd {shlex.join(run['command'])}",
        "data": run["data"] and f"{run['data']}, {run['rows'] or 0:,} rows; finished {run['finished']}",
        "time": run["seconds"] and number_format.duration(run["seconds"]),
        "score": run["scores"] and f"{number_format.scores(run['scores'])} on the {run['scored_on']} rows",
    }
    console.print_facts({name: value or None for name, value in facts.items()})
