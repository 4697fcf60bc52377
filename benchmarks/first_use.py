"""Cold first fits: seconds of the first fit of a kind in a fresh process with an empty cache, and with a full one::

python benchmarks/first_use.py [--repeat 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap

KINDS = {
    "binary SGD": "SGDClassifier(random_state=0).fit(X, y > 4)",
    "softmax, 10 classes": "SGDClassifier(loss='softmax', random_state=0).fit(X, y)",
    "softmax, 3 classes": "SGDClassifier(loss='softmax', random_state=0).fit(X, y % 3)",
    "MLP, 10 classes": "MLPClassifier((16,), max_iter=3, random_state=0).fit(X, y)",
}
PROGRAM = """
    import time, warnings
    from sklearn.datasets import load_digits
    from parsgd import MLPClassifier, SGDClassifier

    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    X = X / 16
    began = time.perf_counter()
    {fit}
    print(time.perf_counter() - began)
"""


def seconds(fit: str, cache: str) -> float:
    """The seconds of a first fit, imports of Numba included, estimators imported before."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    program = textwrap.dedent(PROGRAM).format(fit=fit)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    print(f"{'first fit':<22} {'cold s':>7} {'cached s':>9}   medians of {repeat}")
    for kind, fit in KINDS.items():
        cold, warm = [], []
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as cache:
                cold.append(seconds(fit, cache))
                warm.append(seconds(fit, cache))
        print(f"{kind:<22} {statistics.median(cold):7.2f} {statistics.median(warm):9.2f}", flush=True)


if __name__ == "__main__":
    main()
