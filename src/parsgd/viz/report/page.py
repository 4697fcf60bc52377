"""The page: one HTML file that loads nothing, with its style, its script and its numbers inside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

import parsgd
from parsgd.viz.report import sections
from parsgd.viz.report.fit_facts import FitFacts
from parsgd.viz.report.line_charts import thinned
from parsgd.viz.report.speedup import Speedup, speedup_of
from parsgd.viz.report.svg import text

# Of longer histories the block of numbers has as many entries, evenly chosen.
_MOST_ROUNDS = 2000
_ROUND = ("round", "epoch", "seconds", "merge_seconds", "check_seconds", "loss", "score")


def page(record: FitFacts, plan: Any = None) -> str:
    """The page as text."""
    found = speedup_of(record, plan)
    style, script = _part("style.css"), _part("hover.js")
    # nothing but these two may run or be loaded, whatever the texts on the page say
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"
    name = f"{record.estimator} on {record.run.data}" if record.run.data else record.estimator
    return Template(_part("page.html")).substitute(
        policy=policy, version=text(parsgd.__version__), title=text(f"{name}: parsgd report"), style=style,
        body=sections.all_of(record, found, plan), data=_json(numbers(record, found)), script=script,
    )  # fmt: skip


def numbers(record: FitFacts, found: Speedup) -> dict[str, Any]:
    """What the page says, as plain values: for who reads it by machine."""
    return {
        "estimator": record.estimator,
        "parameters": record.parameters,
        "algorithm": record.algorithm,
        "engine": record.engine,
        "n_workers": record.n_workers,
        "n_iter": record.n_iter,
        "outcome": record.outcome,
        "headline": found.sentence,
        "seconds": found.seconds,
        "serial_seconds": found.serial_seconds,
        "workers": [asdict(one) for one in record.accounts],
        "rounds": [{key: entry.get(key) for key in _ROUND} for entry in thinned(record.history, _MOST_ROUNDS)],
        "run": record.run.notes(),
    }


def _json(value: Any) -> str:
    """Strict JSON that cannot end the element it stands in; a number that does not exist is null."""

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(value), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def _part(name: str) -> str:
    return (resources.files("parsgd.viz.report") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
