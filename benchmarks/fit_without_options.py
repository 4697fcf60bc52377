"""``parsgd fit FILE`` without options, against a scikit-learn pipeline with scaling and a grid search, on twelve files.

Usage: python benchmarks/fit_without_options.py DATA_FOLDER [--only adult ...] [--rates] [--save]
       python benchmarks/fit_without_options.py --quick

Each file has the columns as they come: numbers, categories, text, missing values.  Both see the same training file of
at most 60,000 rows and 5 million numbers, and are scored on the same test file: accuracy of classes, R^2 of numbers.
``parsgd fit`` gets target and kind of model only.  The pipeline has one-hot categories, words as TF-IDF, medians for
missing numbers, a scaler, and ``SGDClassifier`` or ``SGDRegressor`` with the best of 20 settings in three folds: five
values of alpha, the schedules "optimal" (classes) or "invscaling" (numbers) and "adaptive" with eta0 0.001, 0.01 and
0.1.  Targets of its regressions are scaled.  Times are those of one run, files included.  ``--rates`` adds parsgd's
other defaults.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import (
    dump_svmlight_file,
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_svmlight_file,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from benchmarks import stored_tables
from benchmarks.markdown import table

MOST_ROWS, MOST_VALUES, MOST_TEST_ROWS = 60_000, 5_000_000, 20_000
FLIGHTS = [
    "dep_delay",
    "distance",
    "air_time",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "month",
    "day",
    "hour",
]
# a column of strings with longer values than this on average is text
TEXT_LENGTH = 40
OTHER_RATES = ("optimal", "adagrad", "auto")


@dataclass(frozen=True)
class Files:
    """Training and test rows on the disk, and as a frame or a sparse matrix with targets."""

    name: str
    model: str
    target: str | None
    train: Path
    test: Path
    X: Any
    X_test: Any
    y: np.ndarray
    y_test: np.ndarray

    @property
    def is_regression(self) -> bool:
        return self.model == "sgd-regressor"


def frames(folder: Path | None) -> Iterator[tuple[str, str, pd.DataFrame, str, str]]:
    """Yield name, kind of file, rows, target and model of the files that are tables."""
    for name, load, model in (
        ("digits", load_digits, "sgd-classifier"),
        ("breast cancer", load_breast_cancer, "sgd-classifier"),
        ("iris", load_iris, "sgd-classifier"),
    ):
        yield name, "csv", load(as_frame=True).frame, "target", model
    yield "diabetes", "csv", load_diabetes(as_frame=True, scaled=False).frame, "target", "sgd-regressor"
    if folder is None:
        return
    yield "covtype", "parquet", pd.read_parquet(folder / "covtype.parquet"), "Cover_Type", "sgd-classifier"
    flights = pd.read_parquet(folder / "nycflights13.parquet").dropna(subset=["arr_delay"])
    yield "nycflights, delay", "parquet", flights[[*FLIGHTS, "arr_delay"]], "arr_delay", "sgd-regressor"
    late = flights[FLIGHTS].assign(late=np.where(flights["arr_delay"] > 15, "late", "on time"))
    yield "nycflights, late", "csv", late, "late", "sgd-classifier"
    houses = pd.read_csv(folder / "california_housing.csv.xz")
    yield "california_housing", "csv", houses, "median_house_value", "sgd-regressor"
    mails = pd.read_parquet(folder / "enron_spam.parquet").drop_duplicates("text")
    yield "enron_spam", "parquet", mails[["text", "spam"]], "spam", "sgd-classifier"
    with np.load(folder / "fashion_mnist.npz") as parts:
        X, y = (np.concatenate([parts[f"{of}_train"], parts[f"{of}_test"]]) for of in "Xy")
    images = pd.DataFrame(X.reshape(len(X), -1), columns=[f"p{i}" for i in range(X[0].size)]).assign(y=y)
    yield "fashion_mnist", "parquet", images, "y", "sgd-classifier"


def problems(folder: Path | None, work: Path, only: list[str] | None) -> Iterator[Files]:
    """Write the files of each data set to ``work``, and yield them."""
    for number, (name, kind, frame, target, model) in enumerate(frames(folder)):
        if only and name not in only:
            continue
        stratify = frame[target] if model == "sgd-classifier" else None
        train, test = train_test_split(frame, test_size=0.2, random_state=0, stratify=stratify)
        most = min(MOST_ROWS, MOST_VALUES // frame.shape[1])
        train, test = train[:most], test[:MOST_TEST_ROWS]
        paths = [work / f"{part}{number}.{kind}" for part in ("train", "test")]
        for path, part in zip(paths, (train, test), strict=True):
            part.to_csv(path, index=False) if kind == "csv" else part.to_parquet(path, index=False)
        targets = [part[target].to_numpy() for part in (train, test)]
        yield Files(name, model, target, *paths, train.drop(columns=target), test.drop(columns=target), *targets)
    for name in ("adult", "news20") if folder is not None else ():
        if only and name not in only:
            continue
        if name == "adult":
            parts = [
                load_svmlight_file(str(folder / f"adult.{of}.svm.bz2"), n_features=123) for of in ("train", "test")
            ]
            (X, y), (X_test, y_test) = parts
        else:
            X, X_test, y, y_test = train_test_split(
                *load_svmlight_file(str(folder / "news20.svm.bz2")), test_size=0.2, random_state=0
            )
        paths = [work / f"{name}.{part}.svm" for part in ("train", "test")]
        for path, rows, labels in zip(paths, (X, X_test), (y, y_test), strict=True):
            dump_svmlight_file(rows, labels, str(path))
        yield Files(name, "sgd-classifier", None, *paths, X, X_test, y, y_test)


def command(*arguments: str | Path) -> dict[str, Any]:
    """Run a command of parsgd, and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "parsgd", *map(str, arguments), "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def fit_file(files: Files, work: Path, *options: str) -> tuple[float, float]:
    """Return score and seconds of ``parsgd fit``."""
    out = work / "model.parsgd"
    began = time.perf_counter()
    target = ["--target", files.target] if files.target else []
    command("fit", files.train, *target, "--model", files.model, "--test-fraction", "0", "--out", out, *options)
    seconds = time.perf_counter() - began
    scores = command("evaluate", out, files.test)["scores"]
    return float(scores["r2" if files.is_regression else "accuracy"]), seconds


def pipeline(files: Files) -> GridSearchCV:
    """Return the pipeline with its grid."""
    if isinstance(files.X, pd.DataFrame):
        strings = [name for name in files.X if not pd.api.types.is_numeric_dtype(files.X[name])]
        texts = [name for name in strings if files.X[name].astype(str).str.len().mean() > TEXT_LENGTH]
        words = [(TfidfVectorizer(min_df=2, sublinear_tf=True), name) for name in texts]
        prepare = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), [name for name in strings if name not in texts]),
            *words,
            remainder=make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
        )
    else:
        prepare = MaxAbsScaler()
    alphas = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    schedules = [("invscaling" if files.is_regression else "optimal", 0.01)]
    schedules += [("adaptive", eta0) for eta0 in (0.001, 0.01, 0.1)]
    model: Any = SGDRegressor(random_state=0) if files.is_regression else SGDClassifier(random_state=0)
    prefix = "sgdclassifier__"
    if files.is_regression:
        model, prefix = TransformedTargetRegressor(model, transformer=StandardScaler()), "transformedtargetregressor__"
    grid = [
        {
            f"{prefix}{'regressor__' * files.is_regression}{name}": [value]
            for name, value in (("alpha", alpha), ("learning_rate", schedule), ("eta0", eta0))
        }
        for alpha in alphas
        for schedule, eta0 in schedules
    ]
    return GridSearchCV(make_pipeline(prepare, clone(model)), grid, cv=3, n_jobs=2)


def fit_pipeline(files: Files) -> tuple[float, float]:
    """Return score and seconds of the grid search."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = pipeline(files).fit(files.X, files.y)
    seconds = time.perf_counter() - began
    return float(search.score(files.X_test, files.y_test)), seconds


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the real data; not needed with --quick")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--rates", action="store_true", help="also fit with each of parsgd's rates that need no search")
    parser.add_argument("--quick", action="store_true", help="the data sets of scikit-learn; no measurement")
    stored_tables.add_option(parser, "fit_without_options")
    given = parser.parse_args(arguments)
    if given.folder is None and not given.quick:
        parser.error("a folder of real data is needed, except with --quick")
    rows, gains = [], []
    others = OTHER_RATES if given.rates else ()
    with tempfile.TemporaryDirectory() as name:
        for files in problems(None if given.quick else given.folder, Path(name), given.only):
            score, seconds = fit_file(files, Path(name))
            theirs, their_seconds = fit_pipeline(files)
            gains.append(score - theirs)
            more = [f"{fit_file(files, Path(name), '--learning-rate', rate)[0]:.4f}" for rate in others]
            shape = f"{len(files.y):,} x {files.X.shape[1]:,}"
            kind = "R2" if files.is_regression else "accuracy"
            row = [files.name, shape, kind, f"{score:.4f}", *more, f"{theirs:.4f}", f"{score - theirs:+.4f}"]
            rows.append([*row, f"{seconds:.1f}", f"{their_seconds:.1f}"])
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = [
        "file",
        "rows x columns",
        "score",
        "`parsgd fit`",
        *others,
        "tuned pipeline",
        "difference",
        "s",
        "s, pipeline",
    ]
    better, within = sum(gain > 0 for gain in gains), sum(gain >= -0.01 for gain in gains)
    text = f"At most 0.01 below the tuned pipeline: {within} of {len(gains)}. Above it: {better} of {len(gains)}.\n"
    libraries = ("parsgd", "numpy", "scikit-learn")
    stored_tables.show(f"{table(header, rows, words=(0, 1, 2))}\n{text}", given.save, __file__, libraries)


if __name__ == "__main__":
    main()
