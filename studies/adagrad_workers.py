"""AdaGrad with K workers that average: test losses with the rate of one worker, and with sqrt(K) times that rate.

On text there is a third figure: averages per coordinate at sqrt(K) times the rate.

Usage: python studies/adagrad_workers.py --data FOLDER [--datasets NAME ...] [--seeds 3] [--save]

After n gradients of similar size AdaGrad has moved a weight by about 2 eta sqrt(n).  K workers with n / K gradients
each have moved by 2 eta sqrt(n / K), and so has their mean.  With sqrt(K) eta the mean should make one worker's
progress.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import stored_tables
from benchmarks.markdown import table
from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD

# A rate below the best and one near it.
RATES = {
    "covtype": (0.02, 0.05),
    "nycflights": (0.03, 0.1),
    "nycflights_late": (0.1, 0.3),
    "adult": (0.02, 0.05),
    "enron_spam": (0.3, 1.0),
    "news20_softmax": (0.1, 0.3),
    "news20_one_vs_all": (0.2, 0.56),
}
TEXTS = ("enron_spam", "news20_softmax", "news20_one_vs_all")
WORKERS, PASSES = (2, 8, 32), (1, 3)


def loss(task: tasks.Task, rate: float, n_workers: int, n_passes: int, n_seeds: int, rule: str = "uniform") -> float:
    """Median test loss of fits whose workers average once per pass; the serial engine gives the bits of threads."""
    workers = {"n_jobs": n_workers, "engine": "serial", "algorithm": LocalSGD(sync_every=1.0, rule=rule)}
    setting = {"learning_rate": "adagrad", "eta0": rate}
    fits = (task.estimator(setting, n_passes, seed, **workers).fit(task.X, task.y) for seed in range(n_seeds))
    return float(np.median([task.test_loss(fit) for fit in fits]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="folder of the real data")
    parser.add_argument("--datasets", nargs="+", choices=tuple(RATES), default=tuple(RATES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    stored_tables.add_option(parser, "adagrad_workers")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in given.datasets:
        task = tasks.load(name, given.data)
        for rate in RATES[name]:
            for n_passes in PASSES:
                one = loss(task, rate, 1, n_passes, given.seeds)
                cells = [name, f"{rate:g}", str(n_passes), f"{one:.4f}"]
                for n_workers in WORKERS:
                    root, arguments = n_workers**0.5, (n_workers, n_passes, given.seeds)
                    found = [loss(task, factor * rate, *arguments) for factor in (1.0, root)]
                    if name in TEXTS:
                        found.append(loss(task, root * rate, *arguments, rule="coordinate"))
                    cells.append(", ".join(f"{each:.4f}" for each in found))
                rows.append(cells)
                print(" ".join(cells), file=sys.stderr, flush=True)
    header = ["data", "rate", "passes", "1 worker", *(f"{n_workers} workers" for n_workers in WORKERS)]
    stored_tables.show(table(header, rows, words=(0,)), given.save, __file__)


if __name__ == "__main__":
    main()
