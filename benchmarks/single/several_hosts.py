"""Bytes and time of a round on four hosts against the bandwidth of their links, and a fit that loses a host.

Usage: python benchmarks/single/several_hosts.py [--mbit 10 100 1000] [--quick] [--save]

Hosts are network namespaces of this machine (``benchmarks/hosts.py``): a driver and three workers of a Dask cluster.
The model is softmax regression with 1,000,000 weights in float32 and AdaGrad on sparse rows.  Bytes are those of the
driver's link, in both directions, from the end of the first round on; rows travel before that.  All processes share the
cores of one machine, so times are those of the messages and of slower computing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from scipy import sparse

from benchmarks import stored_tables
from benchmarks.hosts import DaskHosts, missing
from benchmarks.markdown import number, table

N_HOSTS = 4
N_CLASSES = 20
# rows, features, values per row, passes
SIZES = {"whole": (12_000, 50_000, 40, 4), "quick": (600, 1_000, 10, 4), "many rounds": (600, 1_000, 10, 150)}
RULES = {"plain means": {"rule": "uniform"}, "means per coordinate": {"rule": "coordinate"}}


def make_rows(size: str) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return rows whose features are as unevenly frequent as words, and classes by a linear rule."""
    n_rows, n_features, per_row, _ = SIZES[size]
    rng = np.random.default_rng(0)
    popularity = 1.0 / np.arange(1, n_features + 1) ** 0.9
    columns = rng.choice(n_features, n_rows * per_row, p=popularity / popularity.sum()).astype(np.int32)
    values = rng.random(n_rows * per_row, dtype=np.float32)
    pointers = np.arange(0, n_rows * per_row + 1, per_row, dtype=np.int32)
    X = sparse.csr_matrix((values, columns, pointers), shape=(n_rows, n_features))
    X.sum_duplicates()
    return X, (X @ rng.standard_normal((n_features, N_CLASSES)).astype(np.float32)).argmax(axis=1)


def bytes_of_link() -> int:
    """Return the bytes that this host has received and sent."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith("net:"))
    return int(fields[0]) + int(fields[8])


def fit(scheduler: str, size: str, rule: dict[str, Any], timeouts: dict[str, float]) -> None:
    """Fit on the cluster, and print a line of JSON after each round and at the end; runs on the first host."""
    from distributed import Client

    from parsgd import LocalSGD, SGDClassifier, observe_progress
    from parsgd.engines.dask.dask_engine import Dask

    warnings.simplefilter("ignore")
    X, y = make_rows(size)
    began, seen = time.perf_counter(), {-1}

    def look(progress: Any) -> None:
        if progress.rounds not in seen:
            seen.add(progress.rounds)
            told = {"round": progress.rounds, "seconds": time.perf_counter() - began, "bytes": bytes_of_link()}
            print(json.dumps(told), flush=True)

    with Client(scheduler, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(N_HOSTS - 1, timeout=60)
        model = SGDClassifier(
            "softmax",
            algorithm=LocalSGD(1.0, **rule),
            engine=Dask(client=client, **timeouts),
            n_jobs=N_HOSTS - 1,
            max_iter=SIZES[size][3],
            tol=None,
            penalty=None,
            learning_rate="adagrad",
            eta0=0.5,
            random_state=0,
        )
        with observe_progress(look):
            model.fit(X, y)
    lost = [
        {"round": entry["round"], **{name: each[name] for name in ("worker", "why")}}
        for entry in model.history_
        for each in entry["lost"]
    ]
    told = {
        "score": float(model.score(X, y)),
        "finite": bool(np.isfinite(model.coef_).all()),
        "rounds": len(model.history_),
        "examples": sum(worker["examples"] for entry in model.history_ for worker in entry["workers"]),
        "lost": lost,
    }
    print(json.dumps(told), flush=True)


def run(
    hosts: DaskHosts,
    size: str,
    rule: dict[str, Any] | None = None,
    timeouts: dict[str, float] | None = None,
    after_round: dict[int, Any] | None = None,
    seconds: float = 300.0,
) -> list[dict[str, Any]]:
    """Fit on hosts, and return what the driver printed; ``after_round[n]()`` is called when n rounds are complete."""
    arguments = ["--fit", json.dumps([hosts.scheduler, size, rule or {}, timeouts or {}])]
    process = hosts.start(0, str(Path(__file__).resolve()), *arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    ended = threading.Timer(seconds, process.kill)
    ended.start()
    lines, others = [], []
    for line in process.stdout:
        try:
            told = json.loads(line)
        except ValueError:
            others.append(line)
            continue
        lines.append(told)
        if "round" in told and after_round and told["round"] in after_round:
            after_round[told["round"]]()
    ended.cancel()
    if process.wait() != 0:
        raise RuntimeError(
            f"the fit failed with status {process.returncode}, or took {seconds:g} s:\n{''.join(others)}"
        )
    return lines


def rounds_of(told: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the bytes and the seconds of a round: medians from the second round on."""
    rounds = [line for line in told if "round" in line and line["round"] > 0]
    return tuple(float(np.median(np.diff([line[name] for line in rounds]))) for name in ("bytes", "seconds"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=float, nargs="+", default=[10, 100, 1000], help="bandwidths of a link, Mbit/s")
    parser.add_argument("--quick", action="store_true", help="few rows; no measurement")
    parser.add_argument("--fit", type=json.loads, help=argparse.SUPPRESS)
    stored_tables.add_option(parser, "several_hosts")
    given = parser.parse_args(arguments)
    if given.fit:
        fit(*given.fit)
        return 0
    if why := missing():
        print(f"No hosts can be made: {why}.", file=sys.stderr)
        return 1
    size, rows = "quick" if given.quick else "whole", []
    for mbit in given.mbit:
        for name, rule in RULES.items():
            with DaskHosts(N_HOSTS, mbit) as hosts:
                told = run(hosts, size, rule)
            n_bytes, seconds = rounds_of(told)
            rows.append([f"{mbit:g}", name, number(1e-6 * n_bytes), number(seconds), f"{told[-1]['score']:.4f}"])
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["Mbit/s", "merge", "MB of a round", "seconds of a round", "accuracy"]
    stored_tables.show(table(header, rows, words=(1,)), given.save, __file__, ("parsgd", "dask"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
