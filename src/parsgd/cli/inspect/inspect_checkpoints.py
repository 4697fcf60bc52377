"""What a folder of checkpoints holds: how far the fit came, and how to go on with it."""

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
from parsgd.cli.options.common_options import MODELS
from parsgd.errors import CheckpointError, ModelFileError, Outcome
from parsgd.viz.live.progress_text import duration

# Parameters that are options of their own; the others are given by --set.
_OPTIONS = {
    "loss": "--loss", "penalty": "--penalty", "alpha": "--alpha", "learning_rate": "--learning-rate", "tol": "--tol",
    "eta0": "--eta0", "learning_rate_init": "--eta0", "batch_size": "--batch-size", "average": "--average",
    "random_state": "--seed",
}  # fmt: skip


def checkpoints(path: Path, voice: Console) -> dict[str, Any]:
    """The report; told in words, too."""
    folder = CheckpointStore(path if path.is_dir() else path.parent)
    rounds = [_round(folder.file(number), number) for number in folder.rounds()]
    whole = [one for one in rounds if one["problem"] is None]
    report = {"folder": str(folder.path), "rounds": rounds, "held_by": holder(folder.path)}
    if whole:
        kept = file_format.read(folder.file(whole[-1]["round"]))
        report |= standing(kept)
        report["command"] = command(kept, folder.path) if report["resumable"] else None
    else:
        report |= {"ended": False, "resumable": False, "command": None}
    tell(report, voice)
    return report


def _round(path: Path, number: int) -> dict[str, Any]:
    try:
        file_format.read(path)
        problem = None
    except (ModelFileError, CheckpointError) as error:
        problem = str(error)
    stat = path.stat()
    written = datetime.datetime.fromtimestamp(stat.st_mtime, datetime.UTC).isoformat(timespec="seconds")
    return {"round": number, "bytes": stat.st_size, "written": written, "problem": problem}


def holder(folder: Path) -> int | None:
    """The process of a fit that writes here now, or None."""
    with suppress(OSError, ValueError):
        number = int((folder / ".lock").read_text())
        os.kill(number, 0)
        return number
    return None


def standing(kept: CheckpointContent) -> dict[str, Any]:
    """How far the fit came."""
    snapshot, work = kept.snapshot, kept.identity["work"]
    return {
        "epochs": snapshot.epochs,
        "examples": snapshot.examples,
        "rows": kept.identity["data"]["number of rows"],
        "seconds": snapshot.seconds,
        "loss": next((entry["loss"] for entry in reversed(snapshot.history) if "loss" in entry), None),
        "ended": snapshot.ended,
        "outcome": None if snapshot.outcome is None else snapshot.outcome.name,
        "resumable": not snapshot.ended or (snapshot.outcome is Outcome.MAX_EPOCHS and not one_shot(kept)),
        "estimator": MODELS.get(model_of(kept) or ""),
        "algorithm": work["algorithm"],
        "workers": work["n_workers"],
    }


def one_shot(kept: CheckpointContent) -> bool:
    """Whether the one average that ends the fit is all that it makes."""
    return bool(getattr(getattr(kept.extras.get("choice"), "algorithm", None), "one_shot", False))


def model_of(kept: CheckpointContent) -> str | None:
    """The model on the command line whose estimator has these parameters: the one that has the fewest besides."""
    given = set(kept.identity["parameters"])
    known = {name: set(getattr(parsgd, cls)().get_params(deep=False)) for name, cls in MODELS.items()}
    return min((name for name in known if given <= known[name]), key=lambda name: len(known[name]), default=None)


def command(kept: CheckpointContent, folder: Path) -> str | None:
    """What to type to go on with the fit, but for the names of files; None if it was begun with what is Python's."""
    model = model_of(kept)
    algorithm = algorithm_of(kept.identity["work"]["algorithm"])
    if model is None or algorithm is None:
        return None
    words = ["--model", model]
    plain = getattr(parsgd, MODELS[model])().get_params(deep=False)
    for name, said in kept.identity["parameters"].items():
        if said != described(plain[name]):
            value = said.strip("'")
            if name == "hidden_layer_sizes":
                words += ["--hidden", value.strip("()").replace(" ", "").rstrip(",")]
            else:
                words += [_OPTIONS[name], value] if name in _OPTIONS else ["--set", f"{name}={value}"]
    words += ["--workers", str(kept.identity["work"]["n_workers"]), *algorithm, "--checkpoint", str(folder), "--resume"]
    return f"parsgd fit DATA --out MODEL {shlex.join(words)}"


def algorithm_of(said: str) -> list[str] | None:
    """The options that make the algorithm; one that is nobody's default cannot be typed.

    >>> algorithm_of(described(parsgd.LocalSGD()))
    ['--algorithm', 'local']
    """
    for name, path in registry.ALGORITHMS.items():
        if described(registry.load(path)()) == said:
            return ["--algorithm", name]
    return [] if said.startswith("LocalSGD(") else None


def tell(report: dict[str, Any], voice: Console) -> None:
    """The same in words."""
    rounds = report["rounds"]
    numbers = ", ".join(str(one["round"]) for one in rounds)
    voice.say(f"{report['folder']}: checkpoints of round {numbers}", style="bold")
    for one in rounds:
        state = "whole" if one["problem"] is None else one["problem"]
        voice.points([f"round {one['round']}: {one['bytes']:,} bytes, {one['written']}, {state}"])
    if report["held_by"] is not None:
        voice.say(f"writing:    a fit keeps its checkpoints here now (process {report['held_by']})")
    if not any(one["problem"] is None for one in rounds):
        voice.say("resume:     there is no whole checkpoint to go on from; begin anew in another folder")
        return
    what = report["estimator"] or "an estimator"
    voice.say(f"fit:        {what}, {report['algorithm']}, {report['workers']} workers")
    voice.say(f"came to:    {report['epochs']:,} epochs over {report['rows']:,} rows in {duration(report['seconds'])}")
    voice.say(f"ended:      {report['outcome'] if report['ended'] else 'no'}")
    if not report["resumable"]:
        voice.say("resume:     the fit is done, and would not go on; to train on, begin anew in another folder")
        return
    why = "with a larger --max-iter it goes on" if report["ended"] else "it goes on from there"
    typed = report["command"] or "its algorithm was made in Python; go on there, with fit(..., resume=True)"
    voice.say(f"resume:     {why}, with the data and options as before: {typed}")
