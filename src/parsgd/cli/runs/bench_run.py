"""``parsgd bench``: the same fits by scikit-learn and by parsgd, in turns, and what each took."""

from __future__ import annotations

import os
import platform
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
from sklearn import linear_model, neural_network

import parsgd
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console, scores_in_words
from parsgd.cli.options.common_options import MODELS, ModelOptions
from parsgd.cli.runs import fit_run
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables.learn_columns import EncodingOptions
from parsgd.errors import InvalidArgument, Outcome, ParsgdError
from parsgd.viz.live.progress_text import duration

# Noise beside a signal of deviation 1.
_NOISE = 0.5
# Who does the work is what is compared, and need not be the same.
_OURS = ("algorithm", "engine")


@dataclass(frozen=True)
class Shape:
    """Of data that are made up."""

    rows: int
    features: int
    classes: int


@dataclass(frozen=True)
class BenchRequest:
    """What the user asked ``bench`` for; ``data`` is None if they are to be made up."""

    data: str | None
    what: ModelOptions
    parameters: dict[str, Any]
    seed: int
    choices: EncodingOptions
    shape: Shape
    workers: Sequence[int]
    passes: int
    repeats: int
    test_fraction: float


@dataclass
class Contender:
    """An estimator to be fitted again and again; ``seconds`` is what each fit took."""

    library: str
    workers: int
    estimator: Any
    seconds: list[float]
    first_s: float = 0.0


def run(request: BenchRequest, voice: Console) -> dict[str, Any]:
    """Do what was asked; return the report that ``--json`` prints."""
    ours, asked = make(request)
    theirs = counterpart(ours, request)
    fit_run.check_request(asked)
    parts = fit_run.prepare(asked, ours, voice) if request.data else generated(request, ours, voice)
    several = task_of(ours) == "classes" and len(np.unique(parts.target)) > 2
    contenders = entered(ours, theirs, request.workers, several)
    measure(contenders, parts, request.repeats, voice)
    report = reported(contenders, parts, request)
    tell(report, voice)
    return report


def make(request: BenchRequest) -> tuple[Any, fit_run.FitRequest]:
    """parsgd's estimator, which makes all passes whatever the loss does, and what ``fit`` would be asked."""
    asked = fit_run.FitRequest(
        data=request.data or "",
        out=None,
        model=request.what.model,
        target=request.what.target,
        parameters=request.parameters | {"max_iter": request.passes, "tol": None},
        round_seconds=None,
        test_fraction=request.test_fraction,
        seed=request.seed,
        choices=request.choices,
    )
    return fit_run.make_estimator(asked), asked


def counterpart(ours: Any, request: BenchRequest) -> Any:
    """scikit-learn's estimator with the same parameters; refuses what it does not have."""
    name = type(ours).__name__
    theirs = getattr(linear_model, name, None) or getattr(neural_network, name)
    known, plain, given = theirs().get_params(), type(ours)().get_params(), ours.get_params()
    lacking = [key for key, value in given.items() if key not in (*known, *_OURS) and value != plain[key]]
    if lacking:
        raise UsageError(f"scikit-learn's {name} has no {lacking[0]}: there is nothing to compare with; leave it out.")
    made = theirs(**{key: value for key, value in given.items() if key in known and key not in ("n_jobs", "verbose")})
    try:
        made._validate_params()
    except ValueError as error:
        raise InvalidArgument(f"scikit-learn cannot do the same: {error}") from error
    return made


def generated(request: BenchRequest, ours: Any, voice: Console) -> fit_run.FitInputs:
    """Normal rows, and targets that follow from them but for noise."""
    shape, random = request.shape, np.random.default_rng(request.seed)
    rows = random.standard_normal((shape.rows, shape.features), dtype=np.float32)
    classes = task_of(ours) == "classes"
    signal = rows @ random.standard_normal((shape.features, shape.classes if classes else 1)).astype(np.float32)
    signal /= np.sqrt(shape.features)
    signal += _NOISE * random.standard_normal(signal.shape)
    target = signal.argmax(axis=1) if classes else signal[:, 0].astype(np.float64)
    voice.say(f"made up: {shape.rows:,} rows, {shape.features:,} columns", style="bold")
    kept = shape.rows - round(shape.rows * request.test_fraction)
    if kept == shape.rows:
        return fit_run.FitInputs(rows, target, None, None, None)
    return fit_run.FitInputs(rows[:kept], target[:kept], rows[kept:], target[kept:], None)


def entered(ours: Any, theirs: Any, workers: Sequence[int], several: bool) -> list[Contender]:
    """Who takes part; scikit-learn's workers share the classes, of which there must be several."""
    from sklearn.base import clone

    shares = several and "n_jobs" in theirs.get_params()
    crews = sorted({1, *workers}) if shares else [1]
    entries = [("scikit-learn", n, theirs, {"n_jobs": n} if shares else {}) for n in crews]
    entries += [("parsgd", n, ours, {"n_jobs": n}) for n in sorted(set(workers))]
    return [Contender(library, n, clone(made).set_params(**more), []) for library, n, made, more in entries]


def measure(contenders: Sequence[Contender], parts: fit_run.FitInputs, repeats: int, voice: Console) -> None:
    """Fit all of them in turns, each once without counting."""
    for turn in range(repeats + 1):
        # whoever begins changes, so that nobody always comes after the same one
        at = turn % len(contenders)
        for contender in (*contenders[at:], *contenders[:at]):
            seconds = timed(contender.estimator, parts)
            if turn:
                contender.seconds.append(seconds)
            else:
                contender.first_s = seconds
        voice.tell(f"turn {turn} of {repeats}" if turn else "all have made the fit that does not count")


def timed(estimator: Any, parts: fit_run.FitInputs) -> float:
    """Seconds of one fit from the beginning."""
    with warnings.catch_warnings():
        # that all passes were made without converging is what was asked for
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        try:
            estimator.fit(parts.rows, parts.target)
        except ParsgdError:
            raise
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        seconds = time.perf_counter() - began
    if getattr(estimator, "outcome_", None) is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return seconds


def reported(contenders: Sequence[Contender], parts: fit_run.FitInputs, request: BenchRequest) -> dict[str, Any]:
    """What came out, as plain values; ``speedup`` is against scikit-learn on one core."""
    scored_on = "training" if parts.test_rows is None else "test"
    scored = (parts.rows, parts.target) if scored_on == "training" else (parts.test_rows, parts.test_target)
    base = statistics.median(contenders[0].seconds)
    results = []
    for contender in contenders:
        median = statistics.median(contender.seconds)
        results.append(
            {
                "library": contender.library,
                "workers": contender.workers,
                "estimator": type(contender.estimator).__name__,
                "median_s": median,
                "fastest_s": min(contender.seconds),
                "slowest_s": max(contender.seconds),
                "first_s": contender.first_s,
                "passes": int(contender.estimator.n_iter_),
                "speedup": base / median,
                "scores": score(contender.estimator, *scored),
            }
        )
    return {
        "data": request.data,
        "model": next(name for name, cls in MODELS.items() if cls == results[0]["estimator"]),
        "rows": parts.rows.shape[0],
        "features": parts.rows.shape[1],
        "dtype": str(parts.rows.dtype),
        "passes": request.passes,
        "repeats": request.repeats,
        "scored_on": scored_on,
        "versions": {"parsgd": parsgd.__version__, "scikit-learn": sklearn.__version__},
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "results": results,
    }


def tell(report: dict[str, Any], voice: Console) -> None:
    """The table, and what it was measured with."""
    header = ("", "median", "fastest", "slowest", "first", "speed", f"score on the {report['scored_on']} rows")
    times = ("median_s", "fastest_s", "slowest_s", "first_s")
    rows = [
        (
            f"{one['library']}, {one['workers']} worker{'s' * (one['workers'] > 1)}",
            *(duration(one[name]) for name in times),
            f"{one['speedup']:.2f}x",
            scores_in_words(one["scores"]),
        )
        for one in report["results"]
    ]
    voice.table(f"{report['passes']} passes over {report['rows']:,} rows", header, rows)
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    voice.say(f"{versions}; {report['cores']} cores, Python {report['python']}; medians of {report['repeats']} fits")
