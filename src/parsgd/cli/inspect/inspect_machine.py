"""The installation for ``parsgd info``: machine, packages, extras and compiled kernels."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
import re
from pathlib import Path
from typing import Any

import parsgd
from parsgd.cli.console import Console
from parsgd.utils import first_use

_PACKAGES = ("numpy", "scipy", "numba", "scikit-learn", "threadpoolctl", "cloudpickle")
# Extras for developers, and extras that combine others.
_HIDDEN_EXTRAS = ("all", "test", "dev")


def describe_machine(console: Console) -> dict[str, Any]:
    """Print and return the report."""
    report = {
        "version": parsgd.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": measure_memory(),
        "packages": {name: find_version(name) for name in _PACKAGES},
        "extras": find_extras(),
        "blas": find_blas(),
        "kernels": count_kernels(),
    }
    print_report(report, console)
    return report


def measure_memory() -> int | None:
    """Return the machine's memory in bytes, or None if the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def find_version(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_extras() -> dict[str, dict[str, Any]]:
    """Return each extra's packages with their versions (None if missing) and the command that installs it."""
    try:
        requirements = importlib.metadata.requires("parsgd") or []
    except importlib.metadata.PackageNotFoundError:
        # run from a source tree without installation
        requirements = []
    found: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        matched = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra == ['\"](\w+)['\"]", requirement)
        if matched and matched[1] != "parsgd" and matched[2] not in _HIDDEN_EXTRAS:
            found.setdefault(matched[2], {})[matched[1]] = find_version(matched[1])
    return {
        extra: {"packages": packages, "complete": all(packages.values()), "install": f"pip install 'parsgd[{extra}]'"}
        for extra, packages in found.items()
    }


def find_blas() -> list[dict[str, Any]]:
    """Return the loaded BLAS libraries and the number of threads that each uses outside a fit."""
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [{"library": one["internal_api"], "version": one["version"], "threads": one["num_threads"]} for one in found]


def count_kernels() -> dict[str, Any]:
    """Return the cache folder, the number of compiled kernels, and the number from other versions of the sources."""
    compiling = first_use.kernels("lowlevel.compiling")
    path, stamp = compiling.cache_folder(), compiling.sources_stamp()
    if path is None:
        return {"folder": None, "ready": 0, "outdated": 0}
    counts = [_count_kernels_of(index, stamp) for index in Path(path).glob("*.nbi")]
    ready, outdated = (sum(count[i] for count in counts) for i in range(2))
    return {"folder": str(path), "ready": ready, "outdated": outdated}


def _count_kernels_of(path: Path, stamp: str) -> tuple[int, int]:
    """Count the compiled kernels in an index file of Numba: those of the current sources, and others.

    The index is a pickle; Numba unpickles the same file at the next fit.
    """
    import numba

    try:
        with open(path, "rb") as file:
            version = pickle.load(file)
            file_stamp, listed = pickle.loads(file.read())
    except Exception:  # another version of Numba may have written anything
        return 0, 1
    fresh = version == numba.__version__ and file_stamp == stamp
    return (len(listed), 0) if fresh else (0, len(listed))


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the report."""
    memory, found = report["memory_bytes"], report["kernels"]
    console.print(f"parsgd {report['version']}, Python {report['python']} on {report['platform']}", style="bold")
    size = "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"
    console.print_facts({"cores": report["cores"], "memory": size})
    for one in report["blas"]:
        console.print_facts({"BLAS": f"{one['library']} {one['version']}, {one['threads']} threads (1 in a fit)"})
    facts = {"packages": ", ".join(f"{name} {version}" for name, version in report["packages"].items())}
    for extra, entry in report["extras"].items():
        missing = [name for name, version in entry["packages"].items() if version is None]
        facts[extra] = f"missing {', '.join(missing)}: {entry['install']}" if missing else "installed"
    ready = f"{found['ready']} compiled" if found["ready"] else "none compiled yet; the first fits take longer"
    old = f", {found['outdated']} of another version" if found["outdated"] else ""
    console.print_facts(facts | {"kernels": f"{ready}{old}; in {found['folder']}"})
