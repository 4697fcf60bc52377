"""Several hosts on one machine: network namespaces of Linux, each with its own address, joined by a switch.

Every host has one link to the switch, with a limited bandwidth in both directions.  The namespaces have no connection
to other networks.  Root and the command ``ip`` (iproute2) are needed; :func:`missing` says what is not there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]


def missing() -> str:
    """Return what prevents hosts on this machine; empty if nothing does."""
    if not sys.platform.startswith("linux"):
        return "network namespaces exist on Linux only"
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"parsgd{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


class Hosts:
    """``n`` hosts with the addresses 10.77.0.1, 10.77.0.2, ...; ``mbit`` limits the links, in Mbit/s."""

    def __init__(self, n: int, mbit: float | None = None):
        self.mbit = mbit
        self.names = [f"parsgd{os.getpid()}-{number}" for number in range(n)]
        self.addresses = [f"10.77.0.{number + 1}" for number in range(n)]
        self.switch = f"parsgd{os.getpid()}-switch"
        self.started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Hosts:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self.switch, "link", "set", "switch", "up")
        for number, name in enumerate(self.names):
            port = f"port{number}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "add", "net", "type", "veth", "peer", "name", port, "netns", self.switch)
            _ip("-n", name, "addr", "add", f"{self.addresses[number]}/24", "dev", "net")
            for space, link in ((name, "lo"), (name, "net"), (self.switch, port)):
                _ip("-n", space, "link", "set", link, "up")
            _ip("-n", self.switch, "link", "set", port, "master", "switch")
            if self.mbit is not None:
                for space, link in ((name, "net"), (self.switch, port)):
                    limit = ["tbf", "rate", f"{self.mbit:g}mbit", "burst", "256kb", "latency", "200ms"]
                    command = ["tc", "-n", space, "qdisc", "add", "dev", link, "root", *limit]
                    subprocess.run(command, check=True, capture_output=True)

    def _remove(self) -> None:
        for name in self.names:
            for pid in self.processes(name):
                _signal(pid, signal.SIGKILL)
        for process in self.started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for name in (*self.names, self.switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def start(self, host: int, *command: str, stdout: IO[str] | int | None = None) -> subprocess.Popen[str]:
        """Start Python with a command on a host; it ends with the hosts."""
        line = ["ip", "netns", "exec", self.names[host], sys.executable, *command]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(line, stdout=stdout, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT)
        self.started.append(process)
        return process

    @staticmethod
    def processes(name: str) -> list[int]:
        """Return the numbers of the processes of a host."""
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def kill(self, host: int) -> None:
        """Kill all processes of a host at once, as when it loses power."""
        for pid in self.processes(self.names[host]):
            _signal(pid, signal.SIGKILL)

    def disconnect(self, host: int) -> None:
        """Unplug a host: no packets arrive or leave, and nobody is told."""
        _ip("-n", self.switch, "link", "set", f"port{host}", "down")

    def connect(self, host: int) -> None:
        """Plug it in again."""
        _ip("-n", self.switch, "link", "set", f"port{host}", "up")

    def n_bytes(self, host: int) -> int:
        """Return the bytes that a host has sent and received."""
        told: list[dict[str, Any]] = json.loads(_ip("-n", self.names[host], "-s", "-j", "link", "show", "net"))
        counts = told[0]["stats64"]
        return int(counts["rx"]["bytes"]) + int(counts["tx"]["bytes"])


class DaskHosts(Hosts):
    """Hosts with a Dask scheduler on the first, which is for the driver, and a Dask worker on each of the others."""

    PORT = 8786

    def __init__(self, n: int, mbit: float | None = None, log: IO[str] | None = None):
        super().__init__(n, mbit)
        self.log: IO[str] | int = subprocess.DEVNULL if log is None else log
        self.scheduler = f"tcp://{self.addresses[0]}:{self.PORT}"

    def __enter__(self) -> DaskHosts:
        super().__enter__()
        where = ["--host", self.addresses[0], "--port", str(self.PORT), "--no-dashboard"]
        self.start(0, "-m", "distributed.cli.dask_scheduler", *where, stdout=self.log)
        for host in range(1, len(self.names)):
            self.add_worker(host)
        return self

    def add_worker(self, host: int) -> None:
        """Start a Dask worker on a host."""
        what = ["--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--host", self.addresses[host]]
        self.start(host, "-m", "distributed.cli.dask_worker", self.scheduler, *what, stdout=self.log)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _ip(*arguments: str) -> str:
    """Run the command ``ip``."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
