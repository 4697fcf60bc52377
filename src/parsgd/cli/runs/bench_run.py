"""``parsgd bench``: time alternating fits of scikit-learn and parsgd."""

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
from parsgd.cli.console import Console
from parsgd.cli.options.common_options import MODELS, ModelOptions
from parsgd.cli.runs import fit_run
from parsgd.cli.scoring import score, task_of
from parsgd.cli.tables.learn_columns import EncodingOptions
from parsgd.errors import InvalidArgumentError, Outcome, ParsgdError
from parsgd.viz import number_format

# Standard deviation of the noise; that of the signal is 1.
_NOISE = 0.5
# Parameters that scikit-learn lacks and that do not change the model.
_PARSGD_ONLY = ("algorithm", "engine")


@dataclass(frozen=True)
class Shape:
    """The size of generated data."""

    rows: int
    features: int
    classes: int


@dataclass(frozen=True)
class BenchRequest:
    """The options of ``bench``; ``data`` is None for generated data."""

    data: str | None
    model_options: ModelOptions
    parameters: dict[str, Any]
    seed: int
    encoding_options: EncodingOptions
    shape: Shape
    workers: Sequence[int]
    passes: int
    repeats: int
    test_fraction: float


@dataclass
class Contender:
    """An estimator that is fitted repeatedly; ``seconds`` has the time of each fit, ``first_s`` of the warm-up."""

    library: str
    workers: int
    estimator: Any
    seconds: list[float]
    first_s: float = 0.0


def run(request: BenchRequest, console: Console) -> dict[str, Any]:
    """Run the command and return the report that ``--json`` prints."""
    ours, fit_request = make(request)
    theirs = counterpart(ours, request)
    fit_run.check_request(fit_request)
    parts = fit_run.prepare(fit_request, ours, console) if request.data else generated(request, ours, console)
    several = task_of(ours) == "classes" and len(np.unique(parts.target)) > 2
    contenders = contenders_of(ours, theirs, request.workers, several)
    measure(contenders, parts, request.repeats, console)
    report = report_of(contenders, parts, request)
    print_report(report, console)
    return report


def make(request: BenchRequest) -> tuple[Any, fit_run.FitRequest]:
    """Return parsgd's estimator without a stopping rule, and the equivalent request of ``fit``."""
    fit_request = fit_run.FitRequest(
        data=request.data or "",
        out=None,
        model=request.model_options.model,
        target=request.model_options.target,
        parameters=request.parameters | {"max_iter": request.passes, "tol": None},
        round_seconds=None,
        test_fraction=request.test_fraction,
        seed=request.seed,
        encoding_options=request.encoding_options,
    )
    return fit_run.make_estimator(fit_request), fit_request


def counterpart(ours: Any, request: BenchRequest) -> Any:
    """Return scikit-learn's estimator with the same parameters; raise UsageError for one that it lacks."""
    name = type(ours).__name__
    theirs = getattr(linear_model, name, None) or getattr(neural_network, name)
    known, defaults, given = theirs().get_params(), type(ours)().get_params(), ours.get_params()
    unknown = [key for key, value in given.items() if key not in (*known, *_PARSGD_ONLY) and value != defaults[key]]
    if unknown:
        raise UsageError(f"scikit-learn's {name} has no {unknown[0]}, so bench cannot compare; remove it.")
    estimator = theirs(**{k: value for k, value in given.items() if k in known and k not in ("n_jobs", "verbose")})
    try:
        estimator._validate_params()
    except ValueError as error:
        raise InvalidArgumentError(f"scikit-learn does not support this: {error}") from error
    return estimator


def generated(request: BenchRequest, ours: Any, console: Console) -> fit_run.FitInputs:
    """Generate normally distributed rows, and targets from a linear model with noise."""
    shape, random = request.shape, np.random.default_rng(request.seed)
    rows = random.standard_normal((shape.rows, shape.features), dtype=np.float32)
    classes = task_of(ours) == "classes"
    signal = rows @ random.standard_normal((shape.features, shape.classes if classes else 1)).astype(np.float32)
    signal /= np.sqrt(shape.features)
    signal += _NOISE * random.standard_normal(signal.shape)
    target = signal.argmax(axis=1) if classes else signal[:, 0].astype(np.float64)
    console.print(f"generated: {shape.rows:,} rows, {shape.features:,} columns", style="bold")
    kept = shape.rows - round(shape.rows * request.test_fraction)
    if kept == shape.rows:
        return fit_run.FitInputs(rows, target, None, None, None)
    return fit_run.FitInputs(rows[:kept], target[:kept], rows[kept:], target[kept:], None)


def contenders_of(ours: Any, theirs: Any, workers: Sequence[int], several: bool) -> list[Contender]:
    """Return the estimators to time; scikit-learn parallelizes over classes, so it needs several of them."""
    from sklearn.base import clone

    parallel = several and "n_jobs" in theirs.get_params()
    counts = sorted({1, *workers}) if parallel else [1]
    entries = [("scikit-learn", n, theirs, {"n_jobs": n} if parallel else {}) for n in counts]
    entries += [("parsgd", n, ours, {"n_jobs": n}) for n in sorted(set(workers))]
    return [Contender(library, n, clone(one).set_params(**params), []) for library, n, one, params in entries]


def measure(contenders: Sequence[Contender], parts: fit_run.FitInputs, repeats: int, console: Console) -> None:
    """Fit the estimators alternately, after one warm-up fit of each."""
    for turn in range(repeats + 1):
        # rotate the order, because a fit may affect the next one
        start = turn % len(contenders)
        for contender in (*contenders[start:], *contenders[:start]):
            seconds = timed(contender.estimator, parts)
            if turn:
                contender.seconds.append(seconds)
            else:
                contender.first_s = seconds
        console.print_always(f"repeat {turn} of {repeats}" if turn else "warm-up fits done")


def timed(estimator: Any, parts: fit_run.FitInputs) -> float:
    """Return the seconds of one fit."""
    with warnings.catch_warnings():
        # without a stopping rule the fits warn that they did not converge
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        try:
            estimator.fit(parts.rows, parts.target)
        except ParsgdError:
            raise
        except ValueError as error:
            raise InvalidArgumentError(str(error)) from error
        seconds = time.perf_counter() - start
    if getattr(estimator, "outcome_", None) is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return seconds


def report_of(contenders: Sequence[Contender], parts: fit_run.FitInputs, request: BenchRequest) -> dict[str, Any]:
    """Return the results as plain values; ``speedup`` is relative to scikit-learn with one worker."""
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


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the table and the versions."""
    header = ("", "median", "fastest", "slowest", "first", "speedup", f"score on the {report['scored_on']} rows")
    times = ("median_s", "fastest_s", "slowest_s", "first_s")
    rows = [
        (
            f"{one['library']}, {number_format.workers(one['workers'])}",
            *(number_format.duration(one[name]) for name in times),
            f"{one['speedup']:.2f}x",
            number_format.scores(one["scores"]),
        )
        for one in report["results"]
    ]
    console.table(f"{report['passes']} passes over {report['rows']:,} rows", header, rows)
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    machine = f"{report['cores']} cores, Python {report['python']}"
    console.print(f"{versions}; {machine}; medians of {report['repeats']} fits")
