"""Peak memory of fits on few sparse rows of very many features, in units of the size of ``coef_``, by classes.

Each call runs in a process of its own, which reports how far its peak resident memory rose above what it had before the
call. The inputs are not part of the rise, and neither are the old coefficients of ``partial_fit``. The second number is
the rise beyond the result, 0 if the result replaces the old coefficients in place::

    python benchmarks/memory.py [--values 10000000] [--loss softmax] [--dense]
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
    if {dense}:
        X, y = X[:20].toarray(), y[:20]
    settings = dict(loss="{loss}", max_iter=2, tol=None, random_state=0)
    small = SGDClassifier(**settings).fit(X[:, :100], y)  # compile, import
    model = SGDClassifier(**settings)
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


CLASSES = (2, 3, 5, 8)


def rise(module: str, n_values: int, n_classes: int, partial: bool, loss: str, dense: bool) -> float:
    """How far the peak rose, in sizes of ``coef_``, which has about ``n_values`` values."""
    n_features = n_values // (1 if n_classes == 2 else n_classes)
    program = textwrap.dedent(PROGRAM).format(
        module=module, n_features=n_features, n_classes=n_classes, partial=partial, loss=loss, dense=dense
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=10_000_000, help="values of coef_")
    parser.add_argument("--loss", default="hinge", help="loss; scikit-learn has no softmax")
    parser.add_argument("--dense", action="store_true", help="20 dense rows instead of 100 sparse ones")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES, help="numbers of classes")
    given = parser.parse_args()
    modules = ("parsgd",) if given.loss == "softmax" else ("parsgd", "sklearn.linear_model")
    print(f"rise of the peak, in sizes of coef_ ({8e-6 * given.values:.0f} MB): in all, and without the result")
    for n_classes in given.classes:
        for partial in (False, True):
            line = f"{n_classes:2} classes, {'partial_fit' if partial else 'fit':<12}"
            for module in modules:
                total = rise(module, given.values, n_classes, partial, given.loss, given.dense)
                line += f"{module.partition('.')[0]} {total:.2f}, {max(total - 1.0, 0.0):.2f}   "
            print(line, flush=True)


if __name__ == "__main__":
    main()
