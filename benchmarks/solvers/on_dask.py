"""parsgd and dask-ml in turns on a cluster of two local processes.

    python -m benchmarks.solvers.on_dask ROWS EPOCHS TURNS

prints the seconds of each turn and the accuracies on the rows themselves as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings

from benchmarks.data import normal_rows
from benchmarks.measuring import run_turns, timed

N_BLOCKS = 8


def main() -> None:
    import dask.array as da
    from dask.distributed import Client, wait

    warnings.simplefilter("ignore")
    n_rows, epochs, n_turns = map(int, sys.argv[1:4])
    X, y = normal_rows(n_rows, 54)
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        chunk = -(-n_rows // N_BLOCKS)
        rows = da.from_array(X, chunks=(chunk, 54)).persist(), da.from_array(y, chunks=chunk).persist()
        wait(rows)
        models = {"parsgd": parsgd, "dask-ml": incremental}
        fitted: dict = {}

        def run(name: str) -> float:
            return timed(lambda: fitted.update({name: models[name](*rows, epochs)}))

        seconds = run_turns({name: lambda name=name: run(name) for name in models}, n_turns)
    accuracy = {name: float((predict(X) == y).mean()) for name, predict in fitted.items()}
    print(json.dumps({"n_rows": n_rows, "seconds": seconds, "accuracy": accuracy}))


def parsgd(X, y, epochs: int):
    """The fitted model's `predict`."""
    from parsgd.dask import DaskSGDClassifier

    return DaskSGDClassifier("log_loss", max_iter=epochs, tol=None, n_jobs=2, random_state=0).fit(X, y).predict


def incremental(X, y, epochs: int):
    from dask_ml.wrappers import Incremental
    from sklearn.linear_model import SGDClassifier

    model = Incremental(SGDClassifier("log_loss", random_state=0))
    for _ in range(epochs):
        model.partial_fit(X, y, classes=[0, 1])
    return model.estimator_.predict


if __name__ == "__main__":
    main()
