"""Peak memory of fits on few sparse rows of very many features, in units of the size of ``coef_``.

Each call runs in a process of its own, which reports how far its peak resident memory rose above what it had before the
call; the result of ``fit`` is part of that, the old coefficients of ``partial_fit`` are not::

    python benchmarks/memory.py [--features 10000000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap

PROGRAM = """
    import resource, sys, warnings
    import numpy as np
    from scipy import sparse
    from {module} import SGDClassifier

    warnings.simplefilter("ignore")
    n = {n_features}
    features = np.sort(np.random.default_rng(0).integers(0, n, (100, 50)), axis=1)
    X = sparse.csr_matrix((np.ones(5000), features.ravel(), np.arange(0, 5001, 50)), shape=(100, n))
    y = np.arange(100) % 2
    small = SGDClassifier(max_iter=2, tol=None, random_state=0).fit(X[:, :100], y)  # compile, import
    model = SGDClassifier(max_iter=2, tol=None, random_state=0)
    if {partial}:
        model.partial_fit(X, y, classes=[0, 1])
    def status(name):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = status("VmRSS")
    model.partial_fit(X, y) if {partial} else model.fit(X, y)
    print((status("VmHWM") - before) / (8 * n))
"""


def rise(module: str, partial: bool, n_features: int) -> float:
    """How far the peak rose, in sizes of ``coef_``."""
    program = textwrap.dedent(PROGRAM).format(module=module, partial=partial, n_features=n_features)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=10_000_000)
    n_features = parser.parse_args().features
    print(f"rise of the peak, in sizes of coef_ ({8e-6 * n_features:.0f} MB)")
    for partial in (False, True):
        name = "partial_fit" if partial else "fit"
        ours, theirs = (rise(module, partial, n_features) for module in ("parsgd", "sklearn.linear_model"))
        print(f"{name:<12} parsgd {ours:.2f}   scikit-learn {theirs:.2f}")


if __name__ == "__main__":
    main()
