"""The machine that figures were taken on: what it is, and how much it can read and multiply at best."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measuring import timed

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "parsgd",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "torch",
    "vowpalwabbit",
    "cyanure",
    "snapml",
    "dask",
    "dask-ml",
    "pyarrow",
)


def installed() -> dict[str, str | None]:
    """The version of each package that takes part; None where it is not installed."""

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {package: of(package) for package in PACKAGES}


def commit() -> str:
    """The short name of the commit, with a plus if files differ from it; "unknown" outside of git."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe(quick: bool = False) -> dict:
    """All of it, as plain values for JSON."""
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": installed(),
        "bandwidth_bytes_per_s": {str(n): bandwidth(n, quick) for n in (1, 2)},
        "gemm_flop_per_s": {str(n): gemm_peak(n, quick) for n in (1, 2)},
    }


def side_by_side(functions: list[Callable[[], object]]) -> float:
    """Seconds until all are done, each in a thread of its own."""
    threads = [threading.Thread(target=function) for function in functions]

    def together() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(together)


def bandwidth(n_threads: int, quick: bool = False) -> float:
    """Bytes a second that threads read from memory at best, each from float32 arrays of its own (256 MB in all).

    The better of two ways: a dot product of an array with itself, which reads it once, and a copy, which reads and
    writes (both are counted).
    """
    n, repeats = (1 << 22, 2) if quick else (1 << 26, 5)
    parts = [np.ones(n // n_threads, dtype=np.float32) for _ in range(n_threads)]
    copies = [np.ones_like(part) for part in parts]
    read = [lambda part=part: np.dot(part, part) for part in parts]
    copied = [lambda part=part, out=out: np.copyto(out, part) for part, out in zip(parts, copies, strict=True)]
    with threadpool_limits(1):
        reading = min(side_by_side(read) for _ in range(repeats))
        copying = min(side_by_side(copied) for _ in range(repeats))
    return max(4.0 * n / reading, 8.0 * n / copying)


def gemm_peak(n_threads: int, quick: bool = False) -> float:
    """Operations a second of large float32 products at best: threads inside a product, or products side by side."""
    n, count = (256, 2) if quick else (1536, 3)
    A = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)

    def multiply() -> None:
        out = np.empty_like(A)
        for _ in range(count):
            np.matmul(A, A, out=out)

    multiply()
    work = 2.0 * n**3 * count
    with threadpool_limits(n_threads):
        inside = min(timed(multiply) for _ in range(3))
    with threadpool_limits(1):
        beside = min(side_by_side([multiply] * n_threads) for _ in range(3))
    return max(work / inside, n_threads * work / beside)
