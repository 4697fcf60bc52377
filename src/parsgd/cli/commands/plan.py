"""``parsgd plan``: read and encode the data, run trial fits, and print the recommendation."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from parsgd.cli import option_values
from parsgd.cli.console import Console
from parsgd.cli.option_groups import LearnOptions
from parsgd.cli.options import AsJson, DataFile, option, parallel_option, training_option

if TYPE_CHECKING:
    from parsgd.planning.plan_table import TrainingPlan
    from parsgd.planning.trials.candidates import Candidate

EXAMPLES = (
    "parsgd plan breast-cancer --loss log_loss --workers 1,2,8 --latency 0.5ms",
    "parsgd plan table.csv --target price --model sgd-regressor --workers 1,2",
)
cluster_option = partial(option, panel="Workers beyond this machine's cores")


def plan(
    data: DataFile,
    learn: LearnOptions,
    workers: Annotated[str, parallel_option("Worker counts to compare.")] = "1,2,4,8,64",
    latency: Annotated[str, cluster_option("Latency of a message, one way.")] = "0s",
    bandwidth: Annotated[float | None, cluster_option("Bytes per second per worker. Default: unlimited.")] = None,
    merge: Annotated[str | None, cluster_option("Driver's time per report. Default: measured.")] = None,
    passes: Annotated[int, training_option("Passes of the serial fit.")] = 5,
    tolerance: Annotated[float, option("Relative tolerance on the serial fit's loss.")] = 0.01,
    seconds: Annotated[str | None, option("Time for planning. Default: 4s, or a tenth of a fit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend a number of workers and an algorithm, with the reason.

    Short trial fits run on the data with each number of workers, for about four seconds.  They measure the time of
    passes, rounds and merges on this machine.  The table shows the predicted time until each fit reaches the final loss
    of serial SGD on held-out rows: a time, bounds if trials scatter, never, or not known, with the reason.  Up to the
    number of cores, workers are threads; beyond that they are a cluster of machines, each as fast as one core of this
    machine.
    """
    import parsgd
    from parsgd.cli import fitting
    from parsgd.planning.plan_table import HEADER

    console = Console(as_json)
    settings = {
        "n_workers": option_values.parse_counts(workers),
        "latency_s": option_values.parse_seconds(latency, "--latency"),
        "bandwidth_bytes_per_s": float("inf") if bandwidth is None else bandwidth,
        "merge_s": None if merge is None else option_values.parse_seconds(merge, "--merge"),
        "tolerance": tolerance,
        "seconds": None if seconds is None else option_values.parse_seconds(seconds, "--seconds"),
    }
    # without a stopping rule unless a tolerance was given
    estimator = fitting.make_estimator(learn.model, learn.parameters(max_iter=passes, tol="none"))
    fitting.require_heldout_loss(estimator, learn.model)
    parts = fitting.prepare((data,), learn, estimator, console)
    plan = parsgd.plan(estimator, parts.rows, parts.target, **settings)
    console.print_table("predicted", HEADER, plan.rows())
    console.print_notes(plan.facts())
    console.print(plan.why, style="bold")
    size = {"rows": parts.rows.shape[0], "features": parts.rows.shape[1]}
    console.print_json(size | {"loss": f"mean {fitting.loss_of(estimator)} on held-out rows"} | list_values(plan))


def list_values(plan: TrainingPlan) -> dict[str, Any]:
    """Return the plan as plain values; the time of a fit that misses the loss is null, with ``"reaches": false``."""
    return {
        **{name: getattr(plan, name) for name in ("goal", "passes", "why", "noise_scale", "seconds")},
        "cells": [_cell(cell) for cell in plan.cells],
        "best": _cell(plan.best),
        "spread": None if plan.spread is None else asdict(plan.spread),
        "costs": asdict(plan.costs),
        "notes": list(plan.notes),
    }


def _cell(cell: Candidate) -> dict[str, Any]:
    from parsgd.planning.plan_table import COLUMNS

    return {name: vars(cell)[name] for name in COLUMNS} | {
        "algorithm": str(cell.algorithm),
        "reaches": None if cell.seconds is None else cell.reaches,
    }
