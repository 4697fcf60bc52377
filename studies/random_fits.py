"""Random fits with compiled rounds on threads against the same fits on the serial engine: all bits must be equal::

python studies/random_fits.py [--fits 1000] [--seed 0] [--load 2]

Shapes, models, schedules, merge rules and numbers of workers are drawn at random.  More workers than cores, and
``--load`` processes that compute without pause, let workers wait for each other at any instruction.  Prints each fit
whose bits differ, and ends with status 1 if there is one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import warnings
from typing import Any

import numpy as np
from scipy import sparse

from parsgd import LocalSGD, MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor
from parsgd.errors import DivergedError

Draw = np.random.Generator


def choose(draw: Draw, *options: Any) -> Any:
    """One of the options."""
    return options[draw.integers(len(options))]


def make_rows(draw: Draw) -> Any:
    """Dense or sparse rows of any small shape, with a few features that are always or never zero."""
    n_rows, n_features = int(10 ** draw.uniform(1.3, 3.3)), int(10 ** draw.uniform(0, 2.4))
    dtype = choose(draw, np.float32, np.float64)
    X = draw.standard_normal((n_rows, n_features)).astype(dtype)
    if draw.random() < 0.5:
        return X
    X *= draw.random(X.shape) < draw.uniform(0.02, 0.6, n_features)
    return sparse.csr_matrix(X)


def make_algorithm(draw: Draw, is_linear: bool) -> LocalSGD:
    """Local SGD whose rounds can be planned."""
    rule = choose(draw, "uniform", "examples", "coordinate", "touched")
    outer = choose(draw, "mean", "mean", "adaptive") if rule in ("uniform", "examples") and is_linear else "mean"
    return LocalSGD(sync_every=float(10 ** draw.uniform(-2, 0)), rule=rule, outer_optimizer=outer)


def make_estimator(draw: Draw) -> tuple[Any, str]:
    """An estimator, and the kind of its targets."""
    common = {"random_state": int(draw.integers(100)), "max_iter": int(draw.integers(1, 7))}
    if draw.random() < 0.25:
        network = {
            "hidden_layer_sizes": (int(draw.integers(1, 20)),),
            "batch_size": int(draw.integers(1, 40)),
            "solver": choose(draw, "sgd", "adam"),
            "momentum": choose(draw, 0.0, 0.9),
            "tol": 0.0,
            "n_iter_no_change": 10**6,
        }
        kind = choose(draw, "classes", "numbers")
        return (MLPClassifier if kind == "classes" else MLPRegressor)(**network, **common), kind
    schedule = choose(draw, "optimal", "constant", "invscaling", "adagrad")
    linear = {
        "learning_rate": schedule,
        "eta0": 0.05,
        "alpha": float(10 ** draw.uniform(-6, -1)),
        "penalty": choose(draw, "l2", "l1", "elasticnet", None),
        "batch_size": choose(draw, 1, 1, 3, 16),
        "tol": choose(draw, None, 1e-3),
        "fit_intercept": choose(draw, True, True, False),
    }
    if draw.random() < 0.25:
        return SGDRegressor(**{**linear, "learning_rate": choose(draw, "constant", "invscaling")}, **common), "numbers"
    loss, kind = choose(draw, "hinge", "log_loss", "softmax"), choose(draw, "two", "classes")
    return SGDClassifier(loss, **linear, **common), kind


def parameters(model: Any) -> np.ndarray:
    """All fitted parameters as one vector."""
    if hasattr(model, "coef_"):
        return np.concatenate([np.ravel(model.coef_), np.ravel(model.intercept_)])
    return np.concatenate([np.ravel(part) for part in (*model.coefs_, *model.intercepts_)])


def outcome(model: Any, engine: str, X: Any, y: np.ndarray) -> tuple[str, np.ndarray]:
    """The error of a fit, or its parameters."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "", parameters(model.set_params(engine=engine).fit(X, y))
    except DivergedError as error:
        return str(error), np.zeros(0)


def differs(seed: int) -> str:
    """A description of the fit with this seed if its bits depend on the engine, else an empty string."""
    draw = np.random.default_rng(seed)
    X, (estimator, kind) = make_rows(draw), make_estimator(draw)
    n_rows = X.shape[0]
    y = {
        "two": lambda: draw.integers(0, 2, n_rows),
        "classes": lambda: draw.integers(0, draw.integers(3, 8), n_rows),
        "numbers": lambda: draw.standard_normal(n_rows),
    }[kind]()
    n_workers = int(draw.integers(2, 6))
    estimator.set_params(n_jobs=n_workers, algorithm=make_algorithm(draw, hasattr(estimator, "penalty")))
    (error, found), (expected_error, expected) = (outcome(estimator, name, X, y) for name in ("threads", "serial"))
    if error == expected_error and np.array_equal(found, expected, equal_nan=True):
        return ""
    return f"seed {seed}: {estimator}, {type(X).__name__} {X.shape} {X.dtype}: {error or 'other bits'}"


def compute_forever() -> None:
    """Occupy a core."""
    while True:
        pass


def main() -> int:
    """Run the fits and print those that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first fit; each fit has the next one")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="processes that compute meanwhile")
    asked = parser.parse_args()
    others = [multiprocessing.Process(target=compute_forever, daemon=True) for _ in range(asked.load)]
    for other in others:
        other.start()
    began, wrong = time.perf_counter(), 0
    for seed in range(asked.seed, asked.seed + asked.fits):
        found = differs(seed)
        if found:
            wrong += 1
            print(found, flush=True)
    print(f"{asked.fits} fits in {time.perf_counter() - began:.0f} s, {wrong} of them with other bits on threads")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
