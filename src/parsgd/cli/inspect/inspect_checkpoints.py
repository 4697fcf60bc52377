"""The description of a checkpoint folder for ``parsgd info``: progress of the fit, and the command to resume it."""

from __future__ import annotations

import datetime
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import parsgd
from parsgd import registry
from parsgd.checkpointing import file_format
from parsgd.checkpointing.file_format import CheckpointContent
from parsgd.checkpointing.fit_fingerprint import described
from parsgd.checkpointing.store import CheckpointStore
from parsgd.cli.console import Console
from parsgd.cli.options import MODELS
from parsgd.errors import CheckpointError, ModelFileError, Outcome
from parsgd.viz import number_format

# Parameters with their own option; others use --set.
_OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in ("loss", "penalty", "alpha", "learning_rate", "tol", "eta0", "batch_size", "average")
} | {"learning_rate_init": "--eta0", "random_state": "--seed"}


def describe_checkpoints(path: Path, console: Console) -> dict[str, Any]:
    """Print and return the report."""
    folder = CheckpointStore(path if path.is_dir() else path.parent)
    rounds = [_describe_round(folder.file(number), number) for number in folder.rounds()]
    whole = [one for one in rounds if one["problem"] is None]
    report = {"folder": str(folder.path), "rounds": rounds, "held_by": find_writer(folder.path)}
    if whole:
        kept = file_format.read(folder.file(whole[-1]["round"]))
        report |= describe_progress(kept)
        report["command"] = make_command(kept, folder.path) if report["resumable"] else None
    else:
        report |= {"ended": False, "resumable": False, "command": None}
    print_report(report, console)
    return report


def _describe_round(path: Path, number: int) -> dict[str, Any]:
    try:
        file_format.read(path)
        problem = None
    except (ModelFileError, CheckpointError) as error:
        problem = str(error)
    stat = path.stat()
    written = datetime.datetime.fromtimestamp(stat.st_mtime, datetime.UTC).isoformat(timespec="seconds")
    return {"round": number, "bytes": stat.st_size, "written": written, "problem": problem}


def find_writer(folder: Path) -> int | None:
    """Return the process id of the fit that writes to this folder now, or None."""
    with suppress(OSError, ValueError):
        number = int((folder / ".lock").read_text())
        os.kill(number, 0)
        return number
    return None


def describe_progress(kept: CheckpointContent) -> dict[str, Any]:
    """Return epochs, loss, outcome and other facts of the fit at the checkpoint."""
    snapshot, work = kept.snapshot, kept.identity["work"]
    return {
        "epochs": snapshot.epochs,
        "examples": snapshot.examples,
        "rows": kept.identity["data"]["number of rows"],
        "seconds": snapshot.seconds,
        "loss": next((entry["loss"] for entry in reversed(snapshot.history) if "loss" in entry), None),
        "ended": snapshot.ended,
        "outcome": None if snapshot.outcome is None else snapshot.outcome.name,
        "resumable": not snapshot.ended or (snapshot.outcome is Outcome.MAX_EPOCHS and not is_one_shot(kept)),
        "estimator": MODELS.get(guess_model(kept) or ""),
        "algorithm": work["algorithm"],
        "workers": work["n_workers"],
    }


def is_one_shot(kept: CheckpointContent) -> bool:
    """Return True if the algorithm merges once, at the end of the fit."""
    choice = kept.extras.get("choice")
    # a checkpoint stores only the name of an algorithm that is not part of parsgd
    return choice is not None and choice.algorithm is not None and choice.algorithm.traits.one_shot


def guess_model(kept: CheckpointContent) -> str | None:
    """Return the ``--model`` whose estimator has all these parameters and the fewest others, or None."""
    given = set(kept.identity["parameters"])
    known = {name: set(getattr(parsgd, cls)().get_params(deep=False)) for name, cls in MODELS.items()}
    return min((name for name in known if given <= known[name]), key=lambda name: len(known[name]), default=None)


def make_command(kept: CheckpointContent, folder: Path) -> str | None:
    """Return the command that resumes the fit, without file names; None if only Python can express it."""
    model = guess_model(kept)
    algorithm = make_algorithm_options(kept.identity["work"]["algorithm"])
    if model is None or algorithm is None:
        return None
    arguments = ["--model", model]
    defaults = getattr(parsgd, MODELS[model])().get_params(deep=False)
    for name, written in kept.identity["parameters"].items():
        value = written.strip("'")
        if written == described(defaults[name]):
            continue
        if name == "hidden_layer_sizes":
            arguments += ["--hidden", value.strip("()").replace(" ", "").rstrip(",")]
        else:
            arguments += [_OPTIONS[name], value] if name in _OPTIONS else ["--set", f"{name}={value}"]
    n_workers = str(kept.identity["work"]["n_workers"])
    arguments += ["--workers", n_workers, *algorithm, "--checkpoint", str(folder), "--resume"]
    return f"parsgd fit DATA --out MODEL {shlex.join(arguments)}"


def make_algorithm_options(description: str) -> list[str] | None:
    """Return the options that select the algorithm, or None if its settings are not those of a registered one.

    >>> make_algorithm_options(described(parsgd.LocalSGD()))
    ['--algorithm', 'local']
    """
    for name, path in registry.ALGORITHMS.items():
        if described(registry.load(path)()) == description:
            return ["--algorithm", name]
    return [] if description.startswith("LocalSGD(") else None


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the report."""
    rounds = report["rounds"]
    numbers = ", ".join(str(one["round"]) for one in rounds)
    console.print(f"{report['folder']}: checkpoints of round {numbers}", style="bold")
    for one in rounds:
        state = "valid" if one["problem"] is None else one["problem"]
        console.print_notes([f"round {one['round']}: {one['bytes']:,} bytes, {one['written']}, {state}"])
    writer = report["held_by"]
    if writer is not None:
        console.print_facts({"writing": f"process {writer} is writing checkpoints to this folder"})
    if not any(one["problem"] is None for one in rounds):
        console.print_facts({"resume": "no valid checkpoint; start a new fit in another folder"})
        return
    time, estimator = number_format.duration(report["seconds"]), report["estimator"] or "an estimator"
    how = "possible with a larger --max-iter" if report["ended"] else "possible"
    command = report["command"] or "its algorithm was created in Python; use fit(..., resume=True) there"
    resume = f"{how}, with the same data and options: {command}"
    if not report["resumable"]:
        resume = "training is complete; to continue, start a new fit in another folder"
    console.print_facts(
        {
            "fit": f"{estimator}, {report['algorithm']}, {report['workers']} workers",
            "progress": f"{report['epochs']:,} epochs over {report['rows']:,} rows in {time}",
            "ended": report["outcome"] if report["ended"] else "no",
            "resume": resume,
        }
    )
