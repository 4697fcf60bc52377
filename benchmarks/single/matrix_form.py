"""What a batch costs example by example, as matrix products in NumPy, and in parsgd: one network, the same sums.

Usage: python benchmarks/single/matrix_form.py [--quick]

A network 1000-900-10, relu and softmax cross-entropy, plain SGD on batches of 100 rows, float32.  First it is checked,
in float64, that all forms compute the same gradients and arrive at the same weights; if one does not, the run ends with
status 1.  Then the forms take turns, so that a noisy neighbour hits all of them; figures are medians over turns.
``--quick`` does the checks and one short turn.  docs/matrix-form.md explains the forms.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from functools import partial

import numpy as np
import scipy
from threadpoolctl import threadpool_info, threadpool_limits

import parsgd
from parsgd import LocalSGD, MiniBatch, SimuParallel
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.models.network.network_model import Network
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

SIZES, BATCH_SIZE, ROWS = (1000, 900, 10), 100, 2000
# The slow form gets fewer rows, and its time is scaled to all of them.
ROWS_BY_EXAMPLE = 200
TOLERANCE = 1e-12
TURNS, SECONDS_A_RUN = 7, 0.5


def softmax(z):
    """``e^z_k / sum_j e^z_j`` along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_example(coefs, intercepts, X, y):
    """Summed gradients of a batch, one example at a time: matrix-vector products, then an outer product per layer."""
    coef_sums = [np.zeros_like(W) for W in coefs]
    intercept_sums = [np.zeros_like(c) for c in intercepts]
    for x, label in zip(X, y, strict=True):
        values = [x]  # (n_in,) each
        for W, c in zip(coefs, intercepts, strict=True):
            z = values[-1] @ W + c  # (n_out,)
            values.append(np.maximum(z, 0))
        error = softmax(z)
        error[label] -= 1
        for layer in reversed(range(len(coefs))):
            coef_sums[layer] += np.outer(values[layer], error)  # (n_in, n_out)
            intercept_sums[layer] += error
            if layer > 0:
                error = (coefs[layer] @ error) * (values[layer] > 0)
    return coef_sums + intercept_sums


def matrix_form(coefs, intercepts, X, y):
    """Summed gradients of a batch, all examples at once: one product per layer forward, two backward."""
    values = [X]  # (B, n_in) each
    for W, c in zip(coefs, intercepts, strict=True):
        Z = values[-1] @ W + c  # (B, n_out)
        values.append(np.maximum(Z, 0))
    errors = softmax(Z)
    errors[np.arange(len(y)), y] -= 1
    coef_sums, intercept_sums = [None] * len(coefs), [None] * len(coefs)
    for layer in reversed(range(len(coefs))):
        coef_sums[layer] = values[layer].T @ errors  # (n_in, n_out): the sum of the outer products
        intercept_sums[layer] = errors.sum(axis=0)
        if layer > 0:
            errors = (errors @ coefs[layer].T) * (values[layer] > 0)
    return coef_sums + intercept_sums


def descend(sums, coefs, intercepts, X, y, batch_size, eta, epochs=1):
    """Plain SGD in place along the gradients of ``sums`` (one of the two above), in the order of the rows."""
    for _ in range(epochs):
        for begin in range(0, len(y), batch_size):
            batch = slice(begin, begin + batch_size)
            gradients = sums(coefs, intercepts, X[batch], y[batch])
            for parameter, gradient in zip(coefs + intercepts, gradients, strict=True):
                parameter -= eta / len(y[batch]) * gradient


def problem(sizes, n_rows, batch_size, dtype):
    """A network, its first state, and random rows whose classes follow a linear rule."""
    model = Network(sizes, dtype, "relu", "softmax", solver="sgd", alpha=0.0, eta0=0.125, batch_size=batch_size)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, sizes[0])).astype(dtype)
    y = (X @ rng.standard_normal((sizes[0], sizes[-1]))).argmax(axis=1)
    return model, model.init(1), X, y


def layers_of(model, state):
    """The weights and the biases in a state; writing to them writes to the state."""
    views = model.views(state)
    return views["coefs"], views["intercepts"]


def in_numpy(sums, model, state, X, y, epochs=1):
    """The state after so many epochs of one of the NumPy forms."""
    state = state.copy()
    descend(sums, *layers_of(model, state), X, y, model.batch_size, model.eta0, epochs)
    return state


def in_parsgd(algorithm, n_workers, model, state, X, y, epochs=1):
    """The state after so many epochs of parsgd."""
    engine = Serial() if n_workers == 1 else Threads()
    source = ArraySource(rows_of(X, y), shuffle=False)
    return fit(model, algorithm, engine, source, n_workers=n_workers, max_epochs=epochs, state=state).state


def summed(sums, model, state, X, y):
    """What one of the NumPy forms gives, as one vector that is laid out as the state is."""
    vector = np.zeros_like(state)
    into, gradients = layers_of(model, vector), sums(*layers_of(model, state), X, y)
    for part, gradient in zip(into[0] + into[1], gradients, strict=True):
        part[:] = gradient
    return vector


def compiled_step(model, state, rows):
    """How far one compiled step moves the state."""
    moved, n = state.copy(), len(rows.y)
    sgd_run = model.sgd_run(moved, 1.0, np.ones(1), 1)
    sgd_run.run(rows, np.arange(n, dtype=np.int32), 0, n)
    sgd_run.finalize()
    return moved - state


def distance(ours, theirs):
    """The greatest difference, relative to the greatest number."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def differences(sizes=SIZES, batch_size=BATCH_SIZE):
    """What is compared, in float64, and how far apart it is."""
    # two batches and a half, so that the last one is cut short
    model, state, X, y = problem(sizes, 5 * batch_size // 2, batch_size, "float64")
    batch, eta = (X[:batch_size], y[:batch_size]), model.eta0
    total = summed(by_example, model, state, *batch)
    mean = model.gradient(state, rows_of(*batch))[1]
    halves = (slice(batch_size // 2), slice(batch_size // 2, batch_size))
    path = in_numpy(matrix_form, model, state, X, y)
    return {
        "gradients: matrix form": distance(summed(matrix_form, model, state, *batch), total),
        "gradients: halves of the batch": distance(
            sum(summed(matrix_form, model, state, X[half], y[half]) for half in halves), total
        ),
        "gradients: parsgd's reference": distance(mean, total / batch_size),
        "gradients: parsgd's compiled step": distance(compiled_step(model, state, rows_of(*batch)) / -eta, mean),
        "a step: the mean at eta, the sum at eta/B": distance(-eta * mean, -(eta / batch_size) * total),
        "an epoch: parsgd, 1 worker": distance(in_parsgd(SimuParallel(), 1, model, state, X, y), path),
        "an epoch: parsgd, 2 workers, exact": distance(in_parsgd(MiniBatch(), 2, model, state, X, y), path),
    }


def check(found):
    """Print the differences; leave with status 1 if one is too large, or no number."""
    for name, size in found.items():
        print(f"  {name:44} {size:.1e}")
    failed = [name for name, size in found.items() if not size <= TOLERANCE]
    if failed:
        sys.exit(f"They differ by more than {TOLERANCE:g}: {'; '.join(failed)}")


def contestants():
    """What is timed: a function of the number of epochs, and how many times as many rows an epoch has."""
    model, state, X, y = problem(SIZES, ROWS, BATCH_SIZE, "float32")
    few = slice(ROWS_BY_EXAMPLE)

    def limited(threads, sums, X, y, epochs):
        with threadpool_limits(threads, user_api="blas"):
            in_numpy(sums, model, state, X, y, epochs)

    def parallel(algorithm, n_workers):
        return partial(in_parsgd, algorithm, n_workers, model, state, X, y), 1.0

    slow = ROWS / ROWS_BY_EXAMPLE
    return {
        "example by example, 1 BLAS thread": (partial(limited, 1, by_example, X[few], y[few]), slow),
        "example by example, 2 BLAS threads": (partial(limited, 2, by_example, X[few], y[few]), slow),
        "matrix form, 1 BLAS thread": (partial(limited, 1, matrix_form, X, y), 1.0),
        "matrix form, 2 BLAS threads": (partial(limited, 2, matrix_form, X, y), 1.0),
        "parsgd, 1 worker": parallel(SimuParallel(), 1),
        # every worker makes ten steps between two averages
        "parsgd, 2 workers, local": parallel(LocalSGD(sync_every=1.0), 2),
        "parsgd, 2 workers, exact": parallel(MiniBatch(), 2),
    }


def seconds(run, epochs):
    """Seconds an epoch."""
    began = time.perf_counter()
    run(epochs=epochs)
    return (time.perf_counter() - began) / epochs


def compare(turns, seconds_a_run):
    """Print seconds an epoch, and ratios to the faster of the example-by-example runs of the same turn."""
    forms = contestants()
    # the first run compiles and warms up, the second says how many epochs last long enough
    for run, _ in forms.values():
        run(epochs=1)
    epochs = {name: math.ceil(seconds_a_run / seconds(run, 1)) for name, (run, _) in forms.items()}
    times = {name: [] for name in forms}
    for _ in range(turns):
        for name, (run, scale) in forms.items():
            times[name].append(scale * seconds(run, epochs[name]))
    base = np.min([times[name] for name in forms if name.startswith("example")], axis=0)
    print(f"\n{'medians (quartiles)':36} {'seconds an epoch':24} x example by example")
    for name in forms:
        spread = [np.percentile(values, [50, 25, 75]) for values in (times[name], base / np.array(times[name]))]
        print("{:36} {:.3f} ({:.3f} to {:.3f})   {:6.1f} ({:.1f} to {:.1f})".format(name, *spread[0], *spread[1]))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    blas = {f"{lib['internal_api']} {lib['version']}" for lib in threadpool_info() if lib["user_api"] == "blas"}
    libraries = f"numpy {np.__version__}, scipy {scipy.__version__}, parsgd {parsgd.__version__}"
    print(f"Python {platform.python_version()}, {libraries}, {' and '.join(sorted(blas))}, {os.cpu_count()} cores")
    print(f"\nrelative differences in float64 (at most {TOLERANCE:g})")
    check(differences())
    sizes = "-".join(map(str, SIZES))
    print(f"\n{sizes}, relu, softmax, float32, batches of {BATCH_SIZE}, {ROWS} rows an epoch, in stored order")
    print(f"example by example: timed on {ROWS_BY_EXAMPLE} rows, scaled to {ROWS}; local: one average an epoch")
    compare(*((1, 0.05) if quick else (TURNS, SECONDS_A_RUN)))


if __name__ == "__main__":
    main()
