"""``parsgd plan``: read, encode, rehearse, and say what parallel work would bring."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import parsgd
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.runs import fit_run
from parsgd.cli.runs.simulate_run import loss_of
from parsgd.cli.scoring import task_of
from parsgd.estimators.fitted_attributes import is_network
from parsgd.planning.candidates import Candidate
from parsgd.planning.plan_table import HEADER, TrainingPlan


def run(request: fit_run.FitRequest, settings: dict[str, Any], voice: Console) -> dict[str, Any]:
    """Do what was asked; return the report that ``--json`` prints."""
    estimator = make(request)
    parts = fit_run.prepare(request, estimator, voice)
    plan = parsgd.plan(estimator, parts.rows, parts.target, **settings)
    tell(plan, voice)
    return report(plan, estimator, parts)


def make(request: fit_run.FitRequest) -> Any:
    """The estimator; so many passes are made whatever the loss does, unless a tolerance was asked for."""
    estimator = fit_run.make_estimator(request)
    if task_of(estimator) == "outliers":
        raise UsageError(f"--model {request.model} has no held-out loss; plan for a classifier or a regressor.")
    if "tol" not in request.parameters:
        estimator.set_params(tol=0.0 if is_network(estimator) else None)
    return estimator


def tell(plan: TrainingPlan, voice: Console) -> None:
    """The table, what was measured, and the sentence."""
    voice.table("predicted", HEADER, plan.rows())
    voice.points(plan.facts())
    voice.say(plan.why, style="bold")


def report(plan: TrainingPlan, estimator: Any, parts: fit_run.FitInputs) -> dict[str, Any]:
    """The plan as plain values; a time that is never reached is null, with ``"reaches": false``."""
    return {
        "rows": parts.rows.shape[0],
        "features": parts.rows.shape[1],
        "loss": f"mean {loss_of(estimator)} on rows kept apart",
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
