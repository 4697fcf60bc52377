"""Peak memory of fits on few sparse rows of very many features, in units of the size of ``coef_``, by classes.

Each call runs in a process of its own, which reports how far its peak resident memory rose above what it had before the
call; the result of ``fit`` is part of that, the old coefficients of ``partial_fit`` are not::

    python benchmarks/memory.py [--values 10000000]
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
    y = np.arange(100) % {n_classes}
    small = SGDClassifier(max_iter=2, tol=None, random_state=0).fit(X[:, :100], y)  # compile, import
    model = SGDClassifier(max_iter=2, tol=None, random_state=0)
    if {partial}:
        model.partial_fit(X, y, classes=np.arange({n_classes}))
    def status(name):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = status("VmRSS")
    model.partial_fit(X, y) if {partial} else model.fit(X, y)
    print((status("VmHWM") - before) / model.coef_.nbytes)
"""


CLASSES = (2, 3, 8)


def rise(module: str, partial: bool, n_values: int, n_classes: int) -> float:
    """How far the peak rose, in sizes of ``coef_``, which has about ``n_values`` values."""
    n_features = n_values // (1 if n_classes == 2 else n_classes)
    program = textwrap.dedent(PROGRAM).format(
        module=module, partial=partial, n_features=n_features, n_classes=n_classes
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=10_000_000, help="values of coef_")
    n_values = parser.parse_args().values
    print(f"rise of the peak, in sizes of coef_ ({8e-6 * n_values:.0f} MB)")
    for n_classes in CLASSES:
        for partial in (False, True):
            name = "partial_fit" if partial else "fit"
            modules = ("parsgd", "sklearn.linear_model")
            ours, theirs = (rise(module, partial, n_values, n_classes) for module in modules)
            print(f"{n_classes} classes, {name:<12} parsgd {ours:.2f}   scikit-learn {theirs:.2f}", flush=True)


if __name__ == "__main__":
    main()
