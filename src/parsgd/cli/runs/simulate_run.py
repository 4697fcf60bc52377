"""``parsgd simulate``: train with each algorithm on simulated workers, and say what each cost and reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from parsgd import registry
from parsgd.cli import loss_plots
from parsgd.cli.cli_errors import UsageError, did_you_mean
from parsgd.cli.console import Console, scores_in_words
from parsgd.cli.options.option_types import parsed
from parsgd.cli.options.parsers import in_words
from parsgd.cli.runs import fit_run
from parsgd.cli.scoring import score, task_of
from parsgd.core import Algorithm
from parsgd.engines.simulated import Simulated
from parsgd.errors import DivergedError, Outcome, WorkersLostError, choose
from parsgd.planning.heldout import HeldOut, ObservedFit
from parsgd.training.compatibility import refuse_unoffered
from parsgd.utils import interrupts
from parsgd.viz.live.progress_text import duration


@dataclass(frozen=True)
class SimulateRequest:
    """What the user asked ``simulate`` for; ``training`` is the part of it that ``fit`` knows too."""

    training: fit_run.FitRequest
    algorithms: dict[str, Algorithm]
    engine: Simulated
    goal: float | None
    figure: Path | None


def run(request: SimulateRequest, voice: Console) -> dict[str, Any]:
    """Do what was asked; return the report that ``--json`` prints."""
    loss_plots.check(not voice.quiet, request.figure)
    for algorithm in request.algorithms.values():
        refuse_unoffered(None, algorithm, request.engine)
    estimator = make(request)
    parts = fit_run.prepare(request.training, estimator, voice)
    scored_on = "training" if parts.test_rows is None else "test"
    results = []
    for label, algorithm in request.algorithms.items():
        voice.say(f"{label}:", style="bold")
        results.append({"algorithm": label} | train(request, algorithm, parts, voice))
        if results[-1]["outcome"] == Outcome.INTERRUPTED.name:
            break
    n_test = 0 if parts.test_rows is None else parts.test_rows.shape[0]
    report = {
        "rows": {"training": parts.rows.shape[0], "test": n_test},
        "features": parts.rows.shape[1],
        "scored_on": scored_on,
        "loss": f"mean {loss_of(estimator)} on the {scored_on} rows",
        "engine": {"workers": request.engine.n_workers} | asdict(request.engine),
        "goal": goal_of(results, request.goal),
        "algorithms": results,
    }
    for result in results:
        result["seconds_to_goal"] = reached(result["curve"], report["goal"])
    tell(report, request, voice)
    return report


def make(request: SimulateRequest) -> Any:
    """A new estimator; refuses what has no workers or no loss to compare."""
    estimator = fit_run.make_estimator(request.training)
    if getattr(estimator, "solver", None) == "lbfgs":
        raise UsageError("solver=lbfgs takes all rows at once, on one worker; simulate solver=adam, adamw or sgd.")
    if task_of(estimator) == "outliers":
        raise UsageError(
            f"--model {request.training.model} has no held-out loss; simulate a classifier or a regressor."
        )
    return estimator


def algorithms_of(text: str, seconds: float | None) -> dict[str, Algorithm]:
    """The algorithms that ``NAME`` or ``NAME:KEY=VALUE:...`` stand for, with commas between them.

    >>> algorithms_of("local:sync_every=0.5,minibatch", None)
    {'local:sync_every=0.5': LocalSGD(sync_every=0.5, ...), 'minibatch': MiniBatch(batch_size=None)}
    """
    found = {}
    for label in dict.fromkeys(part.strip() for part in text.split(",")):
        name, *pairs = label.split(":")
        cls = registry.load(registry.ALGORITHMS[choose(name, registry.ALGORITHMS, "--algorithm", "parsgd simulate")])
        known = [field.name for field in fields(cls)]
        settings = {"seconds": seconds} if seconds is not None and "seconds" in known else {}
        for key, equals, value in (pair.partition("=") for pair in pairs):
            if not (equals and key in known):
                hint = did_you_mean(key, known)
                raise UsageError(f"--algorithm {label}: {name} takes {', '.join(known)}, as in NAME:KEY=VALUE.{hint}")
            settings[key] = parsed(value)
        found[label] = cls(**settings)
    return found


def train(request: SimulateRequest, algorithm: Algorithm, parts: fit_run.FitInputs, voice: Console) -> dict[str, Any]:
    """Fit once, and say how it went; a fit that fails is a result, too."""
    scored = (parts.rows, parts.target) if parts.test_rows is None else (parts.test_rows, parts.test_target)
    estimator = make(request)
    classes = np.unique(parts.target) if task_of(estimator) == "classes" else None
    watched = ObservedFit(algorithm, request.engine, HeldOut(*scored, classes))
    estimator.set_params(algorithm=watched, engine=watched, n_jobs=None)
    try:
        with interrupts.returning():
            told, real_seconds = fit_run.fit(estimator, parts, voice, unheard=(ConvergenceWarning,))
    except (WorkersLostError, DivergedError) as error:
        voice.say(f"  {error}", style="yellow")
        watched.look()
        return {"outcome": type(error).__name__, "why": str(error), "warnings": []} | _seen(watched)
    watched.look()
    history = estimator.history_
    return {
        "outcome": estimator.outcome_.name,
        "why": estimator.outcome_.value,
        "warnings": told,
        **_seen(watched),
        "loss": watched.curve[-1].loss,
        "scores": score(estimator, *scored),
        "waited": waited(history, request.engine),
        "lost": [gone for entry in history for gone in entry["lost"]],
        "real_seconds": real_seconds,
    }


def _seen(watched: ObservedFit) -> dict[str, Any]:
    last = watched.curve[-1]
    per_pass = last.seconds / last.passes if last.passes else None
    return {
        "seconds": last.seconds,
        "passes": last.passes,
        "seconds_per_pass": per_pass,
        "curve": [point._asdict() for point in watched.curve],
    }


def waited(history: Sequence[dict[str, Any]], engine: Simulated) -> float:
    """The share of the workers' time, until the end or until they died, in which they made no steps that counted."""
    end = history[-1]["seconds"]
    alive = sum(min(end, engine.failures.get(worker, end)) for worker in range(engine.n_workers))
    busy = sum(worker["seconds"] for entry in history for worker in entry["workers"])
    return max(0.0, 1.0 - busy / alive) if alive > 0 else 0.0


def goal_of(results: Sequence[dict[str, Any]], asked: float | None) -> float | None:
    """The loss that was asked for, or the lowest one that all algorithms reached that came to an end.

    Where training begins does not count: rates that are too large at first may take it from there to a greater loss.
    """
    seen = [[point["loss"] for point in result["curve"][1:]] for result in results if "loss" in result]
    lowest = [float(np.nanmin(losses)) for losses in seen if np.isfinite(losses).any()]
    return asked if asked is not None else max(lowest, default=None)


def reached(curve: Sequence[dict[str, float]], goal: float | None) -> float | None:
    """The time of the first look after a merge that found no greater loss, or None."""
    return next((point["seconds"] for point in curve[1:] if goal is not None and point["loss"] <= goal), None)


def loss_of(estimator: Any) -> str:
    """The name of the loss."""
    return estimator.loss if isinstance(getattr(estimator, "loss", None), str) else "log_loss"


def tell(report: dict[str, Any], request: SimulateRequest, voice: Console) -> None:
    """The table, the plot, and what else is worth a word."""
    for result in report["algorithms"]:
        for warning in result["warnings"]:
            voice.note(f"{result['algorithm']}: {warning}")
    goal = report["goal"]
    to_goal = "time to goal" if goal is None else f"to loss {goal:.4g}"
    header = ("algorithm", "passes", "time", "a pass", to_goal, "final loss", "waited", "lost")
    voice.table("virtual time", header, [_row(result) for result in report["algorithms"]])
    seen = {result["algorithm"]: result["curve"] for result in report["algorithms"]}
    drawn = {name: [loss_plots.CurvePoint(**point) for point in curve] for name, curve in seen.items()}
    if not voice.quiet:
        voice.plot(lambda width, colours: loss_plots.in_letters(drawn, report["loss"], width, colours))
    for result in report["algorithms"]:
        if "scores" in result:
            real = duration(result["real_seconds"])
            found = scores_in_words(result["scores"])
            voice.say(f"{result['algorithm']}: {report['scored_on']} {found}; simulated in {real}")
    if request.figure is not None:
        loss_plots.draw(drawn, report["loss"], request.figure)
        voice.say(f"saved:      {request.figure}")


def _row(result: dict[str, Any]) -> list[str]:
    def told(key: str, words: Callable[[Any], str]) -> str:
        return "-" if result.get(key) is None else words(result[key])

    lost = told("lost", lambda lost: f"{len(lost):,}" if lost else "none")
    return [
        result["algorithm"],
        f"{result['passes']:.3g}",
        in_words(result["seconds"]),
        told("seconds_per_pass", in_words),
        told("seconds_to_goal", in_words),
        told("loss", lambda loss: f"{loss:.4g}") if "loss" in result else result["outcome"],
        told("waited", lambda share: f"{share:.0%}"),
        "all" if result["outcome"] == "WorkersLostError" else lost,
    ]
