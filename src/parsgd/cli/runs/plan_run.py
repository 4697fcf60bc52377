"""``parsgd plan``: read and encode the data, run trial fits, and print the recommendation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import parsgd
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.runs import fit_run
from parsgd.cli.runs.simulate_run import loss_of
from parsgd.cli.scoring import task_of
from parsgd.estimators.kinds import kind_of
from parsgd.planning.candidates import Candidate
from parsgd.planning.plan_table import HEADER, TrainingPlan


def run(request: fit_run.FitRequest, settings: dict[str, Any], console: Console) -> dict[str, Any]:
    """Run the command and return the report that ``--json`` prints."""
    estimator = make(request)
    parts = fit_run.prepare(request, estimator, console)
    plan = parsgd.plan(estimator, parts.rows, parts.target, **settings)
    print_report(plan, console)
    return report(plan, estimator, parts)


def make(request: fit_run.FitRequest) -> Any:
    """Create the estimator, without a stopping rule unless a tolerance was given."""
    estimator = fit_run.make_estimator(request)
    if task_of(estimator) == "outliers":
        raise UsageError(f"--model {request.model} has no held-out loss; use a classifier or a regressor.")
    if "tol" not in request.parameters:
        estimator.set_params(tol=kind_of(estimator).no_tolerance)
    return estimator


def print_report(plan: TrainingPlan, console: Console) -> None:
    """Print the table, the measurements and the recommendation."""
    console.table("predicted", HEADER, plan.rows())
    console.print_notes(plan.facts())
    console.print(plan.why, style="bold")


def report(plan: TrainingPlan, estimator: Any, parts: fit_run.FitInputs) -> dict[str, Any]:
    """Return the plan as plain values; the time of a fit that misses the loss is null, with ``"reaches": false``."""
    return {
        "rows": parts.rows.shape[0],
        "features": parts.rows.shape[1],
        "loss": f"mean {loss_of(estimator)} on held-out rows",
        "goal": plan.goal,
        "passes": plan.passes,
        "cells": [_cell(cell) for cell in plan.cells],
        "best": _cell(plan.best),
        "why": plan.why,
        "noise_scale": plan.noise_scale,
        "spread": None if plan.spread is None else asdict(plan.spread),
        "costs": asdict(plan.costs),
        "seconds": plan.seconds,
        "notes": list(plan.notes),
    }


def _cell(cell: Candidate) -> dict[str, Any]:
    names = ("n_workers", "label", "engine", "passes", "seconds", "speedup", "rounds", "round_s", "basis")
    return {name: getattr(cell, name) for name in names} | {
        "algorithm": str(cell.algorithm),
        "reaches": None if cell.seconds is None else cell.reaches,
    }
