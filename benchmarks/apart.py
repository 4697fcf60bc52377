"""Work in a fresh process of its own, so that imports, memory and threads of others do not count."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class FailedApart(RuntimeError):
    """A process ended badly; the message has the last lines of what it said."""


def run_code(code: str, *arguments: str, timeout_s: float = 1800.0) -> dict:
    """The JSON object in the last line that `code` prints; `arguments` are its `sys.argv[1:]`.

    The benchmarks themselves can be imported in it.
    """
    return _run([sys.executable, "-c", code, *arguments], timeout_s)


def run_module(name: str, *arguments: str, timeout_s: float = 1800.0) -> dict:
    """The same of ``python -m name``."""
    return _run([sys.executable, "-m", name, *arguments], timeout_s)


def _run(command: list[str], timeout_s: float) -> dict:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    if done.returncode != 0:
        raise FailedApart(f"{' '.join(command[1:3])[:60]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak_bytes() -> int:
    """The most memory that this process had."""
    status = Path("/proc/self/status")
    if status.exists():
        # of getrusage's peak, Linux hands down the parent's
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text()).group(1))
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kilobytes
    return used if sys.platform == "darwin" else 1024 * used
