"""``parsgd simulate``: train with each algorithm on simulated workers, and compare times and losses."""

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
from parsgd.cli.console import Console
from parsgd.cli.options.option_types import parsed
from parsgd.cli.runs import fit_run
from parsgd.cli.scoring import score, task_of
from parsgd.core import Algorithm
from parsgd.engines.simulated import Simulated
from parsgd.errors import DivergedError, Outcome, WorkersLostError, choose
from parsgd.planning.heldout import HeldOut, ObservedFit
from parsgd.training.compatibility import refuse_unoffered
from parsgd.utils import interrupts
from parsgd.viz import number_format


@dataclass(frozen=True)
class SimulateRequest:
    """The options of ``simulate``; ``training`` has those that ``fit`` shares."""

    training: fit_run.FitRequest
    algorithms: dict[str, Algorithm]
    engine: Simulated
    goal: float | None
    figure: Path | None


def run(request: SimulateRequest, console: Console) -> dict[str, Any]:
    """Run the command and return the report that ``--json`` prints."""
    loss_plots.check(not console.quiet, request.figure)
    for algorithm in request.algorithms.values():
        refuse_unoffered(None, algorithm, request.engine)
    estimator = make(request)
    parts = fit_run.prepare(request.training, estimator, console)
    scored_on = "training" if parts.test_rows is None else "test"
    results = []
    for label, algorithm in request.algorithms.items():
        console.print(f"{label}:", style="bold")
        results.append({"algorithm": label} | train(request, algorithm, parts, console))
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
    print_report(report, request, console)
    return report


def make(request: SimulateRequest) -> Any:
    """Create the estimator; raise UsageError if it has no workers or no held-out loss."""
    estimator = fit_run.make_estimator(request.training)
    if getattr(estimator, "solver", None) == "lbfgs":
        raise UsageError("solver=lbfgs has one worker; simulate solver=adam, adamw or sgd.")
    if task_of(estimator) == "outliers":
        raise UsageError(f"--model {request.training.model} has no held-out loss; use a classifier or a regressor.")
    return estimator


def algorithms_of(text: str, seconds: float | None) -> dict[str, Algorithm]:
    """Create the algorithms of a comma-separated list of ``NAME`` or ``NAME:KEY=VALUE:...``.

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
                raise UsageError(
                    f"--algorithm {label}: give settings as NAME:KEY=VALUE; {name} accepts {', '.join(known)}.{hint}"
                )
            settings[key] = parsed(value)
        found[label] = cls(**settings)
    return found


def train(request: SimulateRequest, algorithm: Algorithm, parts: fit_run.FitInputs, console: Console) -> dict[str, Any]:
    """Fit once and return the result; a failed fit is a result, too."""
    scored = (parts.rows, parts.target) if parts.test_rows is None else (parts.test_rows, parts.test_target)
    estimator = make(request)
    classes = np.unique(parts.target) if task_of(estimator) == "classes" else None
    observed = ObservedFit(algorithm, request.engine, HeldOut(*scored, classes))
    estimator.set_params(algorithm=observed, engine=observed, n_jobs=None)
    try:
        with interrupts.returning():
            messages, real_seconds = fit_run.fit(estimator, parts, console, ignored=(ConvergenceWarning,))
    except (WorkersLostError, DivergedError) as error:
        console.print(f"  {error}", style="yellow")
        observed.record_loss()
        return {"outcome": type(error).__name__, "why": str(error), "warnings": []} | _curve_facts(observed)
    observed.record_loss()
    history = estimator.history_
    return {
        "outcome": estimator.outcome_.name,
        "why": estimator.outcome_.value,
        "warnings": messages,
        **_curve_facts(observed),
        "loss": observed.curve[-1].loss,
        "scores": score(estimator, *scored),
        "waited": waited(history, request.engine),
        "lost": [task for entry in history for task in entry["lost"]],
        "real_seconds": real_seconds,
    }


def _curve_facts(observed: ObservedFit) -> dict[str, Any]:
    last = observed.curve[-1]
    per_pass = last.seconds / last.passes if last.passes else None
    return {
        "seconds": last.seconds,
        "passes": last.passes,
        "seconds_per_pass": per_pass,
        "curve": [point._asdict() for point in observed.curve],
    }


def waited(history: Sequence[dict[str, Any]], engine: Simulated) -> float:
    """Return the fraction of the workers' time without useful steps, up to the end or the worker's failure."""
    end = history[-1]["seconds"]
    alive = sum(min(end, engine.failures.get(worker, end)) for worker in range(engine.n_workers))
    busy = sum(worker["seconds"] for entry in history for worker in entry["workers"])
    return max(0.0, 1.0 - busy / alive) if alive > 0 else 0.0


def goal_of(results: Sequence[dict[str, Any]], requested: float | None) -> float | None:
    """Return the requested loss, or the lowest one that all completed algorithms reached.

    The initial loss is ignored: a learning rate that is too large at first may increase it.
    """
    seen = [[point["loss"] for point in result["curve"][1:]] for result in results if "loss" in result]
    lowest = [float(np.nanmin(losses)) for losses in seen if np.isfinite(losses).any()]
    return requested if requested is not None else max(lowest, default=None)


def reached(curve: Sequence[dict[str, float]], goal: float | None) -> float | None:
    """Return the time of the first evaluation after a merge with at most this loss, or None."""
    return next((point["seconds"] for point in curve[1:] if goal is not None and point["loss"] <= goal), None)


def loss_of(estimator: Any) -> str:
    """Return the name of the loss."""
    return estimator.loss if isinstance(getattr(estimator, "loss", None), str) else "log_loss"


def print_report(report: dict[str, Any], request: SimulateRequest, console: Console) -> None:
    """Print warnings, the table, the plot and the scores."""
    for result in report["algorithms"]:
        for warning in result["warnings"]:
            console.note(f"{result['algorithm']}: {warning}")
    goal = report["goal"]
    to_goal = "time to goal" if goal is None else f"to loss {goal:.4g}"
    header = ("algorithm", "passes", "time", "per pass", to_goal, "final loss", "waiting", "lost")
    console.table("virtual time", header, [_row(result) for result in report["algorithms"]])
    seen = {result["algorithm"]: result["curve"] for result in report["algorithms"]}
    drawn = {name: [loss_plots.CurvePoint(**point) for point in curve] for name, curve in seen.items()}
    if not console.quiet:
        console.plot(lambda width, colors: loss_plots.terminal_plot(drawn, report["loss"], width, colors))
    for result in report["algorithms"]:
        if "scores" in result:
            real = number_format.duration(result["real_seconds"])
            found = number_format.scores(result["scores"])
            console.print(f"{result['algorithm']}: {report['scored_on']} {found}; simulated in {real}")
    if request.figure is not None:
        loss_plots.save_figure(drawn, report["loss"], request.figure)
        console.print(f"saved:      {request.figure}")


def _row(result: dict[str, Any]) -> list[str]:
    def cell(key: str, text: Callable[[Any], str]) -> str:
        return "-" if result.get(key) is None else text(result[key])

    lost = cell("lost", lambda lost: f"{len(lost):,}" if lost else "none")
    return [
        result["algorithm"],
        f"{result['passes']:.3g}",
        number_format.seconds(result["seconds"]),
        cell("seconds_per_pass", number_format.seconds),
        cell("seconds_to_goal", number_format.seconds),
        cell("loss", lambda loss: f"{loss:.4g}") if "loss" in result else result["outcome"],
        cell("waited", lambda share: f"{share:.0%}"),
        "all" if result["outcome"] == "WorkersLostError" else lost,
    ]
