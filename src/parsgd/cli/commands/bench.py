"""``parsgd bench``: time alternating fits of scikit-learn and parsgd."""

from __future__ import annotations

import os
import platform
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parsgd.cli import option_values
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.console import Console
from parsgd.cli.option_groups import LearnOptions
from parsgd.cli.options import MODELS, AsJson, data_option, option, parallel_option, training_option
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.viz import number_format

if TYPE_CHECKING:
    from parsgd.cli.fitting import FitInputs

EXAMPLES = (
    "parsgd bench --quick",
    "parsgd bench digits --loss log_loss --workers 1,2 --repeats 3",
    "parsgd bench --model sgd-regressor --rows 5000 --features 20 --repeats 3",
)
generator_option = partial(option, panel="Generated data")
# Standard deviation of the noise; that of the signal is 1.
_NOISE = 0.5
# Parameters that scikit-learn lacks and that do not change the model.
_PARSGD_ONLY = ("algorithm", "engine")


@dataclass
class Contender:
    """An estimator that is fitted repeatedly; ``seconds`` has the time of each fit, ``first_s`` of the warm-up."""

    library: str
    workers: int
    estimator: Any
    first_s: float = 0.0
    seconds: list[float] = field(default_factory=list)


def bench(
    learn: LearnOptions,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="As in parsgd fit. Default: generated data.")
    ] = None,
    rows: Annotated[int | None, generator_option("Rows to generate. Default: 100,000.")] = None,
    features: Annotated[int | None, generator_option("Columns to generate. Default: 100.")] = None,
    classes: Annotated[int | None, generator_option("Classes to generate. Default: 2.")] = None,
    workers: Annotated[str, parallel_option("Worker counts to compare.")] = "1,2",
    passes: Annotated[int, training_option("Passes over the data in each fit.")] = 5,
    repeats: Annotated[int, option("Fits per library and worker count; the table has the median.")] = 5,
    test_fraction: Annotated[float, data_option("Fraction of the rows held out for the score.")] = 0.2,
    quick: Annotated[bool, option("At most 3 fits each; a tenth of the generated rows.", "--quick")] = False,
    as_json: AsJson = False,
) -> None:
    """Time scikit-learn and parsgd with the same model, rows, passes and parameters.

    The first fit of each is a warm-up, which compiles the kernels.  Then the libraries alternate.  The table shows the
    median, the fastest and the slowest fit, and the score on held-out rows.  Both libraries use the encoded rows of
    parsgd fit: standardized and, if dense, float32.
    """
    from parsgd.cli import fitting, scoring

    console = Console(as_json)
    for name, value, least in (("rows", rows, 10), ("features", features, 1), ("classes", classes, 2)):
        if value is not None and data is not None:
            raise UsageError(f"--{name} is for generated data; remove it or {data}.")
        if value is not None and value < least:
            raise UsageError(f"--{name} {value}: too few; use at least 10 rows, 1 column and 2 classes.")
    for name, value in (("passes", passes), ("repeats", repeats)):
        if value < 1:
            raise UsageError(f"--{name} must be 1 or more; got {value}.")
    # without a stopping rule
    parameters = learn.parameters() | {"max_iter": passes, "tol": None}
    worker_counts, repeats = option_values.parse_counts(workers), min(repeats, 3) if quick else repeats
    ours = fitting.make_estimator(learn.model, parameters)
    theirs = make_counterpart(ours)
    if data is None:
        fitting.check_fraction(test_fraction)
        shape = (rows or (10_000 if quick else 100_000), features or 100, classes or 2)
        console.print(f"generated: {shape[0]:,} rows, {shape[1]:,} columns", style="bold")
        parts = generate(shape, scoring.task_of(ours) == "classes", test_fraction, learn.seed)
    else:
        parts = fitting.prepare((data,), learn, ours, console, test_fraction)
    contenders = make_contenders(ours, theirs, worker_counts, parts)
    measure(contenders, parts, repeats, console)
    report = {"data": data} | make_report(contenders, parts, passes, repeats)
    print_report(report, console)
    console.print_json(report)


def make_counterpart(ours: Any) -> Any:
    """Return scikit-learn's estimator with the same parameters; raise UsageError for one that it lacks."""
    from sklearn import linear_model, neural_network

    name = type(ours).__name__
    theirs = getattr(neural_network if name.startswith("MLP") else linear_model, name)
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


def generate(shape: tuple[int, int, int], classify: bool, test_fraction: float, seed: int) -> FitInputs:
    """Generate normally distributed rows, and targets from a linear model with noise.

    ``shape`` has the numbers of rows, columns and classes.
    """
    import numpy as np

    from parsgd.cli.fitting import FitInputs

    (n_rows, n_features, n_classes), random = shape, np.random.default_rng(seed)
    rows = random.standard_normal((n_rows, n_features), dtype=np.float32)
    signal = rows @ random.standard_normal((n_features, n_classes if classify else 1)).astype(np.float32)
    signal /= np.sqrt(n_features)
    signal += _NOISE * random.standard_normal(signal.shape)
    target = signal.argmax(axis=1) if classify else signal[:, 0].astype(np.float64)
    kept = n_rows - round(n_rows * test_fraction)
    if kept == n_rows:
        return FitInputs(rows, target)
    return FitInputs(rows[:kept], target[:kept], rows[kept:], target[kept:])


def make_contenders(ours: Any, theirs: Any, workers: Sequence[int], parts: FitInputs) -> list[Contender]:
    """Return the estimators to time; scikit-learn parallelizes over classes, so it needs several of them."""
    import numpy as np
    from sklearn.base import clone, is_classifier

    parallel = is_classifier(ours) and "n_jobs" in theirs.get_params() and len(np.unique(parts.target)) > 2
    counts = sorted({1, *workers}) if parallel else [1]
    entries = [("scikit-learn", n, theirs, {"n_jobs": n} if parallel else {}) for n in counts]
    entries += [("parsgd", n, ours, {"n_jobs": n}) for n in sorted(set(workers))]
    return [Contender(library, n, clone(one).set_params(**params)) for library, n, one, params in entries]


def measure(contenders: Sequence[Contender], parts: FitInputs, repeats: int, console: Console) -> None:
    """Fit the estimators alternately, after one warm-up fit of each."""
    for turn in range(repeats + 1):
        # rotate the order, because a fit may affect the next one
        start = turn % len(contenders)
        for contender in (*contenders[start:], *contenders[:start]):
            seconds = time_fit(contender.estimator, parts)
            if turn:
                contender.seconds.append(seconds)
            else:
                contender.first_s = seconds
        console.print_always(f"repeat {turn} of {repeats}" if turn else "warm-up fits done")


def time_fit(estimator: Any, parts: FitInputs) -> float:
    """Return the seconds of one fit."""
    from parsgd.cli.fitting import call

    with warnings.catch_warnings():
        # without a stopping rule the fits warn that they did not converge
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        call(estimator.fit, parts.rows, parts.target)
        seconds = time.perf_counter() - start
    # scikit-learn has no such attribute
    if getattr(estimator, "outcome_", None) is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return seconds


def make_report(contenders: Sequence[Contender], parts: FitInputs, passes: int, repeats: int) -> dict[str, Any]:
    """Return the results as plain values; ``speedup`` is relative to scikit-learn with one worker."""
    import sklearn

    import parsgd
    from parsgd.cli.scoring import score

    base = statistics.median(contenders[0].seconds)
    results = [
        {
            "library": one.library,
            "workers": one.workers,
            "estimator": type(one.estimator).__name__,
            "median_s": statistics.median(one.seconds),
            "fastest_s": min(one.seconds),
            "slowest_s": max(one.seconds),
            "first_s": one.first_s,
            "passes": int(one.estimator.n_iter_),
            "speedup": base / statistics.median(one.seconds),
            "scores": score(one.estimator, *parts.scored),
        }
        for one in contenders
    ]
    return {
        "model": next(name for name, cls in MODELS.items() if cls == results[0]["estimator"]),
        "rows": parts.rows.shape[0],
        "features": parts.rows.shape[1],
        "dtype": str(parts.rows.dtype),
        "passes": passes,
        "repeats": repeats,
        "scored_on": parts.scored_on,
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
    console.print_table(f"{report['passes']} passes over {report['rows']:,} rows", header, rows)
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    machine = f"{report['cores']} cores, Python {report['python']}"
    console.print(f"{versions}; {machine}; medians of {report['repeats']} fits")
