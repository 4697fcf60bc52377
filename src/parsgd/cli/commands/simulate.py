"""``parsgd simulate``: train with each algorithm on simulated workers, and compare times and losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from parsgd import registry
from parsgd.cli import option_values
from parsgd.cli.cli_errors import INTERRUPTED, CliExit, UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import LearnOptions
from parsgd.cli.options import AsJson, DataFile, TestFraction, option, parallel_option, training_option
from parsgd.errors import DivergedError, Outcome, WorkersLostError, choose, did_you_mean
from parsgd.utils import interrupts
from parsgd.viz import number_format

if TYPE_CHECKING:
    from parsgd.cli.fitting import FitInputs
    from parsgd.core import Algorithm
    from parsgd.engines.simulated import Simulated

EXAMPLES = (
    "parsgd simulate breast-cancer --speeds 1,1,0.5,0.1 --latency 5ms --rate 1e4",
    "parsgd simulate digits --speeds 1x8 --algorithm local,weighted --passes 2",
)
worker_option = partial(option, panel="Simulated workers")


def simulate(
    data: DataFile,
    learn: LearnOptions,
    speeds: Annotated[str, worker_option("Speed of each worker, 1 is full; 1x900,0.1x100: 1,000 workers.")],
    latency: Annotated[str, worker_option("Latency of a message, one way; one, or one per worker.")] = "0s",
    rate: Annotated[float, worker_option("Examples per second at speed 1.")] = 1e6,
    jitter: Annotated[float, worker_option("Standard deviation of the logarithm of a task's time.")] = 0.0,
    failures: Annotated[list[str] | None, worker_option("WORKER:TIME or FIRST-LAST:TIME; repeatable.")] = None,
    bandwidth: Annotated[float | None, worker_option("Bytes per second per worker. Default: unlimited.")] = None,
    merge: Annotated[str, worker_option("Driver's time per report.")] = "0s",
    algorithm: Annotated[
        str, parallel_option("Algorithms to compare, NAME or NAME:KEY=VALUE, such as local:sync_every=1.")
    ] = "weighted,local,minibatch",
    seconds: Annotated[str | None, parallel_option("Length of a round, such as 0.2s.", metavar="TIME")] = None,
    passes: Annotated[int, training_option("Passes over the data.")] = 5,
    goal: Annotated[float | None, option("Target loss. Default: the lowest that all reach.")] = None,
    figure: Annotated[Path | None, option("Save the plot as .png, .pdf or .svg.", metavar="FILE")] = None,
    test_fraction: TestFraction = 0.2,
    as_json: AsJson = False,
) -> None:
    """Compare algorithms on simulated workers of different speeds: training is real, time is virtual.

    Each algorithm trains the same model with one worker per speed in --speeds.  A task of n examples takes
    n / (rate speed) seconds and two messages.  The table shows the virtual time per pass, the time to a loss that all
    algorithms reach, and the fraction of the workers' time spent waiting.  The plot shows the loss of the merged model
    on the held-out rows (with --test-fraction 0 on the training rows), at the start and after each tenth of a pass.  A
    one-shot algorithm has no merged model before the end of the fit.

    Times have units, such as 5ms, 0.2s, 2min.  With --seconds each round ends after that time for all workers; with a
    one-shot algorithm, the fit does.  Algorithms without timed rounds ignore it.
    """
    from parsgd.cli import fitting
    from parsgd.cli.commands import loss_plots
    from parsgd.engines.simulated import Simulated
    from parsgd.training.compatibility import refuse_unoffered

    console = Console(as_json)
    worker_speeds = tuple(option_values.parse_values(speeds, "--speeds", option_values.parse_number))
    delays = option_values.parse_values(latency, "--latency", option_values.parse_seconds)
    engine = Simulated(
        speeds=worker_speeds,
        rate=rate,
        latency_s=delays[0] if len(delays) == 1 else delays,
        jitter=jitter,
        failures=option_values.parse_failures(failures or (), len(worker_speeds)),
        bandwidth_bytes_per_s=float("inf") if bandwidth is None else bandwidth,
        merge_s=option_values.parse_seconds(merge, "--merge"),
        seed=learn.seed,
    )
    engine.for_each("latency_s", len(worker_speeds))
    round_seconds = None if seconds is None else option_values.parse_seconds(seconds, "--seconds")
    algorithms = parse_algorithms(algorithm, round_seconds)
    loss_plots.check_libraries(not as_json, figure)
    for one in algorithms.values():
        refuse_unoffered(None, one, engine)
    estimator = fitting.make_estimator(learn.model, learn.parameters(max_iter=passes, tol="none"))
    if fitting.uses_lbfgs(estimator):
        raise UsageError("solver=lbfgs has one worker; simulate solver=adam, adamw or sgd.")
    fitting.require_heldout_loss(estimator, learn.model)
    parts = fitting.prepare((data,), learn, estimator, console, test_fraction)
    results = []
    for label, one in algorithms.items():
        console.print(f"{label}:", style="bold")
        results.append({"algorithm": label} | train(estimator, one, engine, parts, console))
        if results[-1]["outcome"] == Outcome.INTERRUPTED.name:
            break
    report = {
        "rows": parts.n_rows,
        "features": parts.rows.shape[1],
        "scored_on": parts.scored_on,
        "loss": f"mean {fitting.loss_of(estimator)} on the {parts.scored_on} rows",
        "engine": {"workers": engine.n_workers} | asdict(engine),
        "goal": choose_goal(results, goal),
        "algorithms": results,
    }
    for result in results:
        result["seconds_to_goal"] = find_time_to_loss(result["curve"], report["goal"])
    print_report(report, figure, console)
    console.print_json(report)
    if any(result["outcome"] == "INTERRUPTED" for result in results):
        raise CliExit("Interrupted; the results so far are shown.", INTERRUPTED)


def parse_algorithms(text: str, seconds: float | None) -> dict[str, Algorithm]:
    """Create the algorithms of a comma-separated list of ``NAME`` or ``NAME:KEY=VALUE:...``.

    >>> parse_algorithms("local:sync_every=0.5,minibatch", None)
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
            settings[key] = option_values.parse_parameter(value)
        found[label] = cls(**settings)
    return found


def train(
    estimator: Any, algorithm: Algorithm, engine: Simulated, parts: FitInputs, console: Console
) -> dict[str, Any]:
    """Fit a clone of the estimator and return the result; a failed fit is a result, too."""
    import numpy as np
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    from parsgd.cli import fitting, scoring
    from parsgd.estimators.kinds import kind_of
    from parsgd.planning.trials.heldout import HeldOut, ObservedFit

    classes = np.unique(parts.target) if scoring.task_of(estimator) == "classes" else None
    observed = ObservedFit(algorithm, engine, HeldOut(*parts.scored, classes, kind_of(estimator)))
    estimator = clone(estimator).set_params(algorithm=observed, engine=observed, n_jobs=None)
    failure = None
    try:
        with interrupts.returning():
            messages, real_seconds = fitting.fit(estimator, parts, console, ignored=(ConvergenceWarning,))
    except (WorkersLostError, DivergedError) as error:
        failure = error
    observed.record_loss()
    last = observed.curve[-1]
    curve = {
        "seconds": last.seconds,
        "passes": last.passes,
        "seconds_per_pass": last.seconds / last.passes if last.passes else None,
        "curve": [point._asdict() for point in observed.curve],
    }
    if failure is not None:
        console.print(f"  {failure}", style="yellow")
        return {"outcome": type(failure).__name__, "why": str(failure), "warnings": [], **curve}
    history = estimator.history_
    return {
        "outcome": estimator.outcome_.name,
        "why": estimator.outcome_.value,
        "warnings": messages,
        **curve,
        "loss": last.loss,
        "scores": scoring.score(estimator, *parts.scored),
        "waited": measure_waiting(history, engine),
        "lost": [task for entry in history for task in entry["lost"]],
        "real_seconds": real_seconds,
    }


def measure_waiting(history: Sequence[dict[str, Any]], engine: Simulated) -> float:
    """Return the fraction of the workers' time without useful steps, up to the end or the worker's failure."""
    end = history[-1]["seconds"]
    alive = sum(min(end, engine.failures.get(worker, end)) for worker in range(engine.n_workers))
    busy = sum(worker["seconds"] for entry in history for worker in entry["workers"])
    return max(0.0, 1.0 - busy / alive) if alive > 0 else 0.0


def choose_goal(results: Sequence[dict[str, Any]], requested: float | None) -> float | None:
    """Return the requested loss, or the lowest one that all completed algorithms reached.

    The initial loss is ignored: a learning rate that is too large at first may increase it.
    """
    seen = [[point["loss"] for point in result["curve"][1:]] for result in results if "loss" in result]
    lowest = [min(filter(math.isfinite, losses)) for losses in seen if any(map(math.isfinite, losses))]
    return requested if requested is not None else max(lowest, default=None)


def find_time_to_loss(curve: Sequence[dict[str, float]], goal: float | None) -> float | None:
    """Return the time of the first evaluation after a merge with at most this loss, or None."""
    return next((point["seconds"] for point in curve[1:] if goal is not None and point["loss"] <= goal), None)


def print_report(report: dict[str, Any], figure: Path | None, console: Console) -> None:
    """Print warnings, the table, the plot and the scores."""
    from parsgd.cli.commands import loss_plots
    from parsgd.planning.trials.heldout import CurvePoint

    for result in report["algorithms"]:
        for warning in result["warnings"]:
            console.print_note(f"{result['algorithm']}: {warning}")
    goal = report["goal"]
    to_goal = "time to goal" if goal is None else f"to loss {goal:.4g}"
    header = ("algorithm", "passes", "time", "per pass", to_goal, "final loss", "waiting", "lost")
    console.print_table("virtual time", header, [_row(result) for result in report["algorithms"]])
    curves = {one["algorithm"]: [CurvePoint(**point) for point in one["curve"]] for one in report["algorithms"]}
    if not console.quiet:
        console.print_plot(lambda width, colors: loss_plots.draw_in_terminal(curves, report["loss"], width, colors))
    for result in report["algorithms"]:
        if "scores" in result:
            real = number_format.duration(result["real_seconds"])
            found = number_format.scores(result["scores"])
            console.print(f"{result['algorithm']}: {report['scored_on']} {found}; simulated in {real}")
    if figure is not None:
        loss_plots.save_figure(curves, report["loss"], figure)
        console.print_facts({"saved": figure})


def _row(result: dict[str, Any]) -> list[str]:
    """Return the cells of a result; a failed fit has no loss."""
    per_pass, to_goal = (result[key] for key in ("seconds_per_pass", "seconds_to_goal"))
    cells = [
        result["algorithm"],
        f"{result['passes']:.3g}",
        *("-" if value is None else number_format.seconds(value) for value in (result["seconds"], per_pass, to_goal)),
    ]
    if "loss" not in result:
        return [*cells, result["outcome"], "-", "all" if result["outcome"] == "WorkersLostError" else "-"]
    lost = f"{len(result['lost']):,}" if result["lost"] else "none"
    return [*cells, f"{result['loss']:.4g}", f"{result['waited']:.0%}", lost]
