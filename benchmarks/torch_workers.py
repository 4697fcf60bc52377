"""Modules on process workers, beside a plain PyTorch loop and DistributedDataParallel, and the cost of a round::

python benchmarks/torch_workers.py --data FOLDER [--turns 5] [--epochs 3]
python benchmarks/torch_workers.py --quick            a trial run on generated rows; no measurement

Every worker has one PyTorch thread and batches of 32.  Two DDP processes (gloo) average gradients in every step; two
workers of parsgd average their parameters ten times per epoch.  All hold their rows in tensors.  Rows per second are
those after the first epoch; runs alternate, and ratios are of runs of the same turn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# before NumPy and PyTorch start their threads; worker processes inherit it
os.environ["OMP_NUM_THREADS"] = "1"
if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks import machine, stored_tables
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread, ratio, run_turns
from benchmarks.options import Options
from benchmarks.problems.fashion_mnist import fashion_mnist
from parsgd import LocalSGD
from parsgd.torch import Trainer

BATCH_SIZE, SYNC_EVERY = 32, 0.1
Rows = tuple[torch.Tensor, torch.Tensor]


class Cnn(torch.nn.Sequential):
    """Two convolutions and a linear layer on pictures of 28 x 28: 20,490 parameters."""

    def __init__(self) -> None:
        super().__init__(
            torch.nn.Unflatten(1, (1, 28, 28)),
            torch.nn.Conv2d(1, 16, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(32 * 49, 10),
        )


def mlp() -> torch.nn.Module:
    """A network 784-256-10."""
    return torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))


MODULES: dict[str, Callable[[], torch.nn.Module]] = {"784-256-10": mlp, "CNN": Cnn}


def optimizer(params: object) -> torch.optim.Optimizer:
    """The optimizer of all runs."""
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


def make(name: str) -> torch.nn.Module:
    """A module with the same parameters in all runs."""
    torch.manual_seed(0)
    return MODULES[name]()


# -- the peers ---------------------------------------------------------------------------------------------------------


def loop(module: torch.nn.Module, rows: Rows, n_epochs: int) -> float:
    """Seconds of all epochs after the first one, in a plain loop."""
    X, y = rows
    steps = optimizer(module.parameters())
    began = time.perf_counter()
    for epoch in range(n_epochs):
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(epoch))
        for start in range(0, len(X), BATCH_SIZE):
            index = order[start : start + BATCH_SIZE]
            loss = torch.nn.functional.cross_entropy(module(X[index]), y[index])
            steps.zero_grad()
            loss.backward()
            steps.step()
        if epoch == 0:
            began = time.perf_counter()
    return time.perf_counter() - began


def peer_process(rank: int, n: int, port: int, name: str, rows: Rows, n_epochs: int, results: object) -> None:
    """One process of a peer: a plain loop, or with ``n > 1`` a part of DDP's."""
    torch.set_num_threads(1)
    module = make(name)
    if n == 1:
        results.put(
            (loop(module, rows, n_epochs), {name: tensor.numpy() for name, tensor in module.state_dict().items()})
        )
        return
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=n)
    # equal parts: a process with one more batch would wait for the others forever
    part = len(rows[0]) // n
    mine = tuple(tensor[rank::n][:part] for tensor in rows)
    seconds = loop(DistributedDataParallel(module), mine, n_epochs)
    distributed.barrier()
    if rank == 0:
        results.put((seconds, {name: tensor.numpy() for name, tensor in module.state_dict().items()}))
    distributed.destroy_process_group()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run_peer(n: int, name: str, rows: Rows, n_epochs: int) -> tuple[float, torch.nn.Module]:
    """Seconds after the first epoch and the trained module, from new processes."""
    context = multiprocessing.get_context("spawn")
    results, port = context.SimpleQueue(), free_port()
    arguments = (n, port, name, rows, n_epochs, results)
    processes = [context.Process(target=peer_process, args=(rank, *arguments)) for rank in range(n)]
    for process in processes:
        process.start()
    seconds, parameters = results.get()
    for process in processes:
        process.join()
    module = make(name)
    module.load_state_dict({part: torch.from_numpy(values) for part, values in parameters.items()})
    return seconds, module


# -- parsgd ------------------------------------------------------------------------------------------------------------


def run_parsgd(n: int, name: str, rows: Rows, n_epochs: int) -> tuple[float, torch.nn.Module]:
    """Seconds after the first epoch and the trained module, with ``n`` process workers."""
    trainer = Trainer(
        make(name),
        torch.nn.functional.cross_entropy,
        optimizer=optimizer,
        algorithm=LocalSGD(sync_every=SYNC_EVERY),
        engine="processes",
        n_workers=n,
        batch_size=BATCH_SIZE,
        n_threads=1,
    ).fit(rows, epochs=n_epochs)
    ends = [entry["seconds"] for entry in trainer.history_ if entry["epoch"] >= 1.0 - 1e-9]
    return ends[-1] - ends[0], trainer.module


def test_loss(module: torch.nn.Module, rows: Rows) -> float:
    """The mean loss on the test rows."""
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(module.eval()(rows[0]), rows[1]))


def throughput(name: str, train: Rows, test: Rows, n_turns: int, n_epochs: int) -> str:
    """A table of rows per second."""
    losses: dict[str, float] = {}

    def run(solver: str, function: Callable[..., tuple[float, torch.nn.Module]], n: int) -> Callable[[], float]:
        def call() -> float:
            seconds, module = function(n, name, train, n_epochs)
            losses[solver] = test_loss(module, test)
            return seconds

        return call

    runs = {
        "PyTorch loop, 1 process": run("PyTorch loop, 1 process", run_peer, 1),
        "parsgd, 1 worker": run("parsgd, 1 worker", run_parsgd, 1),
        "PyTorch DDP (gloo), 2 processes": run("PyTorch DDP (gloo), 2 processes", run_peer, 2),
        "parsgd, 2 workers": run("parsgd, 2 workers", run_parsgd, 2),
    }
    # new processes have no warm-up, and the workers of parsgd are kept
    times = run_turns(runs, n_turns, warm_up=lambda solver: runs[solver]() if "parsgd" in solver else None)
    n_rows = len(train[0]) * (n_epochs - 1)
    cells = []
    for solver, seconds in times.items():
        speed = number(n_rows / float(np.median(seconds)))
        against = [words(ratio(times[peer], seconds)) for peer in list(runs)[:3]]
        cells.append([name, solver, speed, *against, f"{losses[solver]:.3f}"])
    header = ["module", "solver", "rows/s", "against the loop", "against parsgd, 1 worker", "against DDP", "test loss"]
    return table(header, cells, words=(0, 1))


def words(spread: Spread) -> str:
    """The median with quartiles."""
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


# -- the cost of a round -----------------------------------------------------------------------------------------------


def round_costs(quick: bool) -> str:
    """A table of the milliseconds of a round beside its steps, for a million parameters."""
    width = 30 if quick else 950
    X = torch.randn(512 if quick else 4096, 100, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(len(X), dtype=torch.int64)
    hidden = torch.nn.Linear(100, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU()
    module = torch.nn.Sequential(*hidden, torch.nn.Linear(width, 10))
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    vector, copy = np.ones(n_parameters, dtype=np.float32), np.empty(n_parameters, dtype=np.float32)
    copies = []
    for _ in range(100):
        began = time.perf_counter()
        copy[:] = vector
        copies.append(time.perf_counter() - began)
    cells = []
    for kind, rule in (("SGD", torch.optim.SGD), ("AdamW", torch.optim.AdamW)):
        trainer = Trainer(
            module,
            torch.nn.functional.cross_entropy,
            optimizer=lambda params, rule=rule: rule(params, lr=1e-4),
            algorithm=LocalSGD(sync_every=2),
            engine="processes",
            n_workers=2,
            batch_size=8,
        ).fit((X, y), epochs=1)
        history = trainer.history_
        ends = np.array([entry["seconds"] + entry["merge_seconds"] + entry["check_seconds"] for entry in history])
        steps = np.array([max(worker["seconds"] for worker in entry["workers"]) for entry in history])
        spread = Spread.of(1e3 * (np.diff(ends) - steps[1:]))
        copy_ms = 1e3 * float(np.median(copies))
        cells.append([kind, f"{n_parameters:,}", words(spread), f"{copy_ms:.2f}", f"{5.0 + 2.0 * copy_ms:.1f}"])
    header = ["optimizer", "parameters", "ms of a round beside its steps", "ms of a copy", "5 ms and two copies"]
    return table(header, cells, words=(0,))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of the real data")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="turns of all runs (default: 5)")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="epochs of a run, from 2 on (default: 3)")
    parser.add_argument("--quick", action="store_true", help="2,000 generated rows and one turn")
    stored_tables.add_option(parser, "torch_workers")
    found = parser.parse_args(arguments)
    if not found.quick and (found.data is None or not found.data.is_dir()):
        parser.error("--data: a folder of real data is needed, except with --quick")
    if found.epochs < 2 or found.turns < 1:
        parser.error("--epochs: at least 2; --turns: at least 1")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    asked = parse(arguments)
    torch.set_num_threads(1)
    split = fashion_mnist(Options(scratch=Path(), data=asked.data, quick=asked.quick))
    assert split is not None
    X_train, X_test, y_train, y_test = (torch.from_numpy(np.ascontiguousarray(part)) for part in split)
    train, test = (X_train, y_train.long()), (X_test, y_test.long())
    print(f"{machine.processor()}, {machine.cores()} cores; PyTorch {torch.__version__}; commit {machine.commit()}\n")
    parts = [throughput(name, train, test, 1 if asked.quick else asked.turns, asked.epochs) for name in MODULES]
    tables = "\n".join([*parts, round_costs(asked.quick)])
    stored_tables.show(tables, asked.save, __file__, ("parsgd", "numpy", "torch"))


if __name__ == "__main__":
    main()
