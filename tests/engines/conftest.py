"""Dask clusters of this machine, and work that does to its worker what happens to workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import pytest

from parsgd.core import EngineDefaults

# what is defined in tests cannot be imported by workers
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# waiting for something to happen, which it should at once
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Trap:
    """Work that, for one task, kills or stops its process.

    ``moment``: "begin", "middle" or "end" of the work, or "answer", when a process of this machine has written half of
    it.  A worker springs the trap ``times`` times, in the rounds that ``victims`` names; files in ``folder`` count.
    """

    work: object
    folder: Path
    victims: frozenset
    moment: str
    times: int = 1
    deed: str = "kill"

    def __call__(self, shard, task, pulse):
        if (task.worker, task.round) not in self.victims or not self._springs(task):
            return self.work(shard, task, pulse)
        if self.moment == "begin":
            self._do()
        if self.moment == "middle":
            return self.work(shard, task, lambda *told: self._do() or pulse(*told))
        report = self.work(shard, task, pulse)
        if self.moment == "end":
            self._do()
        if self.moment == "answer":
            self._break_off()
        return report

    def _springs(self, task):
        for time_ in range(self.times):
            with contextlib.suppress(FileExistsError):
                path = self.folder / f"{task.worker}-{time_}"
                path.touch(exist_ok=False)
                path.write_text(str(os.getpid()))
                return True
        return False

    def _do(self):
        if self.deed == "raise":
            raise OSError("these rows cannot be read")
        if self.deed == "kill, nanny too":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSTOP if self.deed == "stop" else signal.SIGKILL)

    def _break_off(self):
        from parsgd.engines.processes.channel import Channel

        def half(channel):
            channel.sock.setblocking(True)
            channel.sock.send(channel.outgoing[: len(channel.outgoing) // 2])
            self._do()

        Channel.flush = half


@dataclass(frozen=True)
class Trapped(EngineDefaults):
    """An engine whose workers step into a trap."""

    engine: object
    folder: Path
    victims: frozenset
    moment: str = "middle"
    times: int = 1
    deed: str = "kill"

    name, capabilities = "trapped", frozenset()

    def open(self, work, shards, pulse):
        trap = Trap(work, self.folder, self.victims, self.moment, self.times, self.deed)
        return self.engine.open(trap, shards, pulse)

    def sprung(self):
        """The process that each trap caught."""
        return [int(path.read_text()) for path in sorted(self.folder.iterdir())]


@pytest.fixture
def until():
    """Waits for a condition to hold."""

    def wait(condition):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)

    return wait


@pytest.fixture
def trapped(tmp_path):
    """Makes engines with traps."""

    def make(engine, victims, **settings):
        (tmp_path / "traps").mkdir(exist_ok=True)
        return Trapped(engine, tmp_path / "traps", frozenset(victims), **settings)

    return make


@pytest.fixture
def dask_workers(tmp_path):
    """Starts ``dask worker`` as one does by hand, each with a nanny unless the options say otherwise."""
    with contextlib.ExitStack() as stack:
        yield lambda *given: stack.enter_context(_worker_processes(tmp_path, *given))


@contextlib.contextmanager
def _worker_processes(folder, address, n, *options):
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    command += ["--local-directory", str(folder), *options]
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(n)
    ]
    try:
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
