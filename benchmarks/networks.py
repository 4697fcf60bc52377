"""Speed of networks against PyTorch and scikit-learn: same layers, same batches, float32, same run, compilation apart.

Usage: python benchmarks/networks.py [--quick] [--repeats 7]

Everybody makes passes over the same generated rows in random order, without a penalty.  parsgd and scikit-learn are
timed through ``fit``.  PyTorch (if it is installed) is given tensors in memory, a loop over index batches, and its best
setting: 1 or 2 threads, the optimiser's default or fused form.  The peers take turns, so that a noisy neighbour hits
all of them; ratios are medians over turns of neighbouring runs.  The share of the GEMM peak is the products'
operations, 2 for each weight and example forward, 2 for the gradient and 2 backwards past every layer but the first,
over what the largest products reach on all cores in the same turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import threading
import time
import tracemalloc
import warnings
from itertools import pairwise, product

import matrix_form
import numpy as np
import sklearn
from sklearn import neural_network
from threadpoolctl import threadpool_limits

import parsgd
from parsgd import MLPClassifier

# layers, batch, rows, and what was hoped for: ratio to PyTorch with SGD, to scikit-learn, share of the peak, ratio to
# PyTorch with Adam
SHAPES = [
    ((1000, 900, 10), 100, 10_000, (1.2, 10.0, 0.85, 1.0)),
    ((784, 256, 10), 32, 20_000, (3.0, 20.0, 0.65, 2.0)),
    ((784, 30, 10), 10, 20_000, (25.0, 15.0, 0.45, 15.0)),
    ((54, 64, 32, 7), 64, 100_000, (10.0, 8.0, 0.35, 6.0)),
]
EXAMPLE_BY_EXAMPLE = 60.0
# Passes of a timed fit of ours, which also checks the rows once.
EPOCHS = 10


def rows(layers: tuple[int, ...], n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, layers[0]), dtype=np.float32)
    return X, (X @ rng.standard_normal((layers[0], layers[-1]), dtype=np.float32)).argmax(axis=1)


def operations(layers: tuple[int, ...]) -> int:
    """Multiplications and additions for one example."""
    sizes = [i * o for i, o in pairwise(layers)]
    return 6 * sum(sizes) - 2 * sizes[0]


def settings(layers, batch, solver) -> dict:
    return {
        "hidden_layer_sizes": layers[1:-1], "batch_size": batch, "solver": solver, "momentum": 0.0, "alpha": 0.0,
        "learning_rate_init": 1e-3, "tol": 0.0, "n_iter_no_change": 10**6, "random_state": 0,
    }  # fmt: skip


def timed(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def ours(X, y, layers, batch, solver, n_jobs, epochs):
    model = MLPClassifier(**settings(layers, batch, solver), n_jobs=n_jobs, max_iter=epochs)
    return lambda: timed(lambda: model.fit(X, y)) / epochs


def scikit_learn(X, y, layers, batch, solver, part):
    # a slice of a pass where a whole one would take long: its time is proportional to the rows
    X, y = X[: len(X) // part], y[: len(y) // part]
    model = neural_network.MLPClassifier(**settings(layers, batch, solver), max_iter=1)
    return lambda: timed(lambda: model.fit(X, y)) * part


def pytorch(X, y, layers, batch, solver, threads, fused, part):
    import torch

    torch.manual_seed(0)
    sizes = list(pairwise(layers))
    parts = [m for i, o in sizes for m in (torch.nn.Linear(i, o), torch.nn.ReLU())][:-1]
    model = torch.nn.Sequential(*parts)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[solver]
    optimiser = kind(model.parameters(), lr=1e-3, fused=fused)
    loss = torch.nn.CrossEntropyLoss()
    data, target = torch.from_numpy(X), torch.from_numpy(y)
    n = len(y) // part

    def epoch():
        torch.set_num_threads(threads)
        for index in torch.randperm(n).split(batch):
            optimiser.zero_grad(set_to_none=True)
            loss(model(data[index]), target[index]).backward()
            optimiser.step()

    return lambda: timed(epoch) * part


def peak(seconds: float = 0.2) -> float:
    """Operations a second of the largest products, on all cores: threads inside a product, or products side by side."""
    n = 1536
    A = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)

    def multiply(count):
        out = np.empty_like(A)
        for _ in range(count):
            np.matmul(A, A, out=out)

    best = 0.0
    with threadpool_limits(2):
        count = max(1, int(seconds / timed(lambda: multiply(1))))
        best = max(best, 2.0 * n**3 * count / timed(lambda: multiply(count)))
    with threadpool_limits(1):
        threads = [threading.Thread(target=multiply, args=(count,)) for _ in range(2)]

        def together():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return max(best, 2 * 2.0 * n**3 * count / timed(together))


def compare(layers, batch, n_rows, wanted, solver, repeats, quick) -> None:
    n_rows = n_rows // 20 if quick else n_rows
    X, y = rows(layers, n_rows)
    part = 1 if quick else 5
    runs = {
        "parsgd, 2 workers": ours(X, y, layers, batch, solver, 2, EPOCHS),
        "parsgd, 1 worker": ours(X, y, layers, batch, solver, 1, EPOCHS),
        "scikit-learn": scikit_learn(X, y, layers, batch, solver, part),
    }
    if importlib.util.find_spec("torch") is not None:
        for threads, fused in product((1, 2), (False, True)):
            name = f"PyTorch, {threads} thread{'s' * (threads > 1)}{', fused' * fused}"
            runs[name] = pytorch(X, y, layers, batch, solver, threads, fused, part)
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    peaks = []
    for _ in range(repeats):
        peaks.append(peak(0.02 if quick else 0.2))
        for name, run in runs.items():
            times[name].append(run())
    middle = {name: float(np.median(values)) for name, values in times.items()}
    base = np.array(times["parsgd, 2 workers"])
    work = operations(layers) * n_rows
    title = f"{'-'.join(map(str, layers))}, batches of {batch}, {solver}"
    print(f"\n{title}; GEMM peak {np.median(peaks) / 1e9:.0f} GFLOP/s")
    for name, values in times.items():
        low, ratio, high = np.percentile(np.array(values) / base, [25, 50, 75])
        speed = work / middle[name] / 1e9
        print(
            f"  {name:26} {1e6 * middle[name] / (n_rows / batch):8.1f} us a step {speed:7.1f} GFLOP/s"
            f"   {ratio:6.2f} x our time ({low:.2f} to {high:.2f})"
        )
    torch_names = [name for name in runs if name.startswith("PyTorch")]
    if torch_names:
        best = min(torch_names, key=middle.get)
        hoped = wanted[0] if solver == "sgd" else wanted[3]
        verdict(f"against {best}", np.array(times[best]) / base, hoped)
    if solver == "sgd":
        verdict("against scikit-learn", np.array(times["scikit-learn"]) / base, wanted[1])
        verdict("share of the GEMM peak", work / base / np.array(peaks), wanted[2])
    verdict("two workers against one", np.array(times["parsgd, 1 worker"]) / base, None)
    if layers == SHAPES[0][0] and solver == "sgd":
        few = 100 if quick else 300
        form = matrix_form.problem(layers, few, batch, "float32")
        slow = [timed(lambda: matrix_form.in_numpy(matrix_form.by_example, *form)) * n_rows / few for _ in range(5)]
        verdict("against example by example", np.median(slow) / base, EXAMPLE_BY_EXAMPLE)


def verdict(what: str, ratios: np.ndarray, hoped: float | None) -> None:
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    wanted = "" if hoped is None else f", wanted {hoped:g}"
    print(f"    {what}: {middle:.2f} (quartiles {low:.2f} to {high:.2f}{wanted})", flush=True)


def peak_memory(layers=(1000, 900, 10), batch=100, n_rows=5_000) -> None:
    """What a fit by two workers allocates beyond the data, and what it may: twice the state and a batch for each."""
    X, y = rows(layers, n_rows)
    print()
    for solver, slots in (("sgd", 0), ("adam", 2)):
        model = MLPClassifier(**settings(layers, batch, solver), n_jobs=2, max_iter=2)
        model.fit(X, y)
        tracemalloc.start()
        model.fit(X, y)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        state = 4 * sum((i + 1) * o for i, o in pairwise(layers)) * (1 + slots)
        values = 4 * batch * sum(layers)
        allowed = 2 * (2 * state + values)
        print(
            f"memory beyond the data, {solver}: {used / 1e6:.1f} MB,"
            f" 2 x (2 states + a batch of values) are {allowed / 1e6:.1f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", type=int, help="the number of one shape, from 0 on")
    parser.add_argument("--solvers", nargs="+", default=["sgd", "adam"], choices=["sgd", "adam"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    versions = [f"Python {platform.python_version()}", f"scikit-learn {sklearn.__version__}", f"NumPy {np.__version__}"]
    if importlib.util.find_spec("torch") is not None:
        import torch

        versions.append(f"PyTorch {torch.__version__}")
    print(f"parsgd {parsgd.__version__}, {', '.join(versions)}")
    repeats = 2 if arguments.quick else arguments.repeats
    chosen = SHAPES if arguments.only is None else [SHAPES[arguments.only]]
    for solver in arguments.solvers:
        for layers, batch, n_rows, wanted in chosen:
            compare(layers, batch, n_rows, wanted, solver, repeats, arguments.quick)
    peak_memory(n_rows=1_000 if arguments.quick else 5_000)


if __name__ == "__main__":
    main()
