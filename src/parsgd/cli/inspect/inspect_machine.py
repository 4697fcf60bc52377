"""What is installed, on what machine, and how the compiled kernels stand."""

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
# Extras for who works on parsgd, or that are made of others.
_NOT_OFFERED = ("all", "test", "dev")


def machine(voice: Console) -> dict[str, Any]:
    """The report; told in words, too."""
    report = {
        "version": parsgd.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "packages": {name: version_of(name) for name in _PACKAGES},
        "extras": extras(),
        "blas": blas(),
        "kernels": kernels(),
    }
    tell(report, voice)
    return report


def memory_bytes() -> int | None:
    """Of the machine, in bytes; None where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def version_of(name: str) -> str | None:
    """Of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, dict[str, Any]]:
    """Of each extra: the packages that it brings, with their versions, None if missing; and how to install it."""
    try:
        requirements = importlib.metadata.requires("parsgd") or []
    except importlib.metadata.PackageNotFoundError:
        # run from a folder of sources
        requirements = []
    found: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        matched = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra == ['\"](\w+)['\"]", requirement)
        if matched and matched[1] != "parsgd" and matched[2] not in _NOT_OFFERED:
            found.setdefault(matched[2], {})[matched[1]] = version_of(matched[1])
    return {
        extra: {"packages": packages, "complete": all(packages.values()), "install": f"pip install 'parsgd[{extra}]'"}
        for extra, packages in found.items()
    }


def blas() -> list[dict[str, Any]]:
    """The libraries that multiply matrices here, and how many threads each would take outside a fit."""
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [{"library": one["internal_api"], "version": one["version"], "threads": one["num_threads"]} for one in found]


def kernels() -> dict[str, Any]:
    """Where compiled kernels are kept, how many are ready, and how many belong to another version of the sources."""
    compiling = first_use.kernels("compiling")
    place, stamp = compiling.cache_folder(), compiling.sources_stamp()
    if place is None:
        return {"folder": None, "ready": 0, "outdated": 0}
    folder = Path(place)
    counts = [_in_index(path, stamp) for path in sorted(folder.glob("*.nbi"))]
    ready, old = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return {"folder": str(folder), "ready": ready, "outdated": old}


def _in_index(path: Path, stamp: str) -> tuple[int, int]:
    """How many compiled kernels Numba's index lists, of these sources and of others.

    The index is a pickle that Numba itself opens from there at the next fit.
    """
    import numba

    try:
        with open(path, "rb") as file:
            version = pickle.load(file)
            made_of, listed = pickle.loads(file.read())
    except Exception:  # whatever another version of Numba may have written there
        return 0, 1
    fresh = version == numba.__version__ and made_of == stamp
    return (len(listed), 0) if fresh else (0, len(listed))


def tell(report: dict[str, Any], voice: Console) -> None:
    """The same in words."""
    memory = report["memory_bytes"]
    voice.say(f"parsgd {report['version']}, Python {report['python']} on {report['platform']}", style="bold")
    voice.say(f"cores:      {report['cores']}")
    voice.say(f"memory:     {'unknown' if memory is None else f'{memory / 2**30:.1f} GiB'}")
    for library in report["blas"]:
        voice.say(f"BLAS:       {library['library']} {library['version']}, {library['threads']} threads (1 in a fit)")
    voice.say(f"packages:   {', '.join(f'{name} {version}' for name, version in report['packages'].items())}")
    for extra, of_it in report["extras"].items():
        lacking = [name for name, version in of_it["packages"].items() if version is None]
        said = f"lacks {', '.join(lacking)}: {of_it['install']}" if lacking else "installed"
        voice.say(f"{extra + ':':12}{said}")
    state = report["kernels"]
    ready = f"{state['ready']} compiled" if state["ready"] else "none compiled yet; the first fits take longer"
    old = f", {state['outdated']} of another version" if state["outdated"] else ""
    voice.say(f"kernels:    {ready}{old}; in {state['folder']}")
