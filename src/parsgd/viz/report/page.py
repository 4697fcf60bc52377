"""The report page: one HTML file with its style sheet, script and numbers, without external resources."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

import parsgd
from parsgd.planning.plan_table import TrainingPlan
from parsgd.viz.number_format import without_nan
from parsgd.viz.report import sections
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.line_charts import thinned
from parsgd.viz.report.speedup import Speedup, speedup_of
from parsgd.viz.report.svg import text

# The JSON block has at most this many rounds, evenly spaced.
_MAX_ROUNDS = 2000
_FACTS = ("estimator", "parameters", "algorithm", "engine", "n_workers", "n_iter", "outcome")
_ROUND = ("round", "epoch", "seconds", "merge_seconds", "check_seconds", "loss", "score")


def page(record: FitFacts, plan: TrainingPlan | None = None) -> str:
    """Return the page as HTML."""
    speedup = speedup_of(record, plan)
    style, script = _part("style.css"), _part("hover.js")
    # the browser runs and loads only these two, even if a text on the page contains markup
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"
    name = f"{record.estimator} on {record.run.data}" if record.run.data else record.estimator
    return Template(_part("page.html")).substitute(
        policy=policy,
        version=text(parsgd.__version__),
        title=text(f"{name}: parsgd report"),
        style=style,
        body=sections.all_of(record, speedup, plan),
        data=_json(numbers(record, speedup)),
        script=script,
    )


def numbers(record: FitFacts, speedup: Speedup) -> dict[str, Any]:
    """Return the content of the page as plain values, for programs."""
    return {name: getattr(record, name) for name in _FACTS} | {
        "headline": speedup.sentence,
        "seconds": speedup.seconds,
        "serial_seconds": speedup.serial_seconds,
        "workers": [asdict(one) for one in record.accounts],
        "rounds": [{key: entry.get(key) for key in _ROUND} for entry in thinned(record.history, _MAX_ROUNDS)],
        "run": record.run.notes(),
    }


def _json(value: Any) -> str:
    """Return strict JSON without angle brackets, safe inside a script element; NaN and infinity become null."""
    return json.dumps(without_nan(value), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def _part(name: str) -> str:
    return (resources.files("parsgd.viz.report") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
