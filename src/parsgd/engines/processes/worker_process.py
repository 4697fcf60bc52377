"""A worker process as its driver sees it: started, talked to, ended; and a pool of those that stay between fits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from parsgd.engines.processes.channel import channel_pair
from parsgd.engines.processes.shared_buffers import SharedBufferView

# With -P and without PYTHONPATH the interpreter finds its own modules only, until it has the driver's path.
_BOOT = (
    "import json, os, sys; file, driver, tied, variable, sys.path[:] = json.loads(sys.argv[1]);"
    " variable is None or os.environ.update(PYTHONPATH=variable);"
    " from parsgd.engines.processes.worker_main import main; main(file, driver, tied)"
)
_PATH = "PYTHONPATH"
# After the end of its line a process is gone, or as good as.
_REAP_SECONDS = 5.0


def import_path() -> list[str]:
    """Where this process finds modules, as another one in the same folder can use it.

    The current folder comes last: a file in it must not take the place of a module of the library.
    """
    paths = [os.path.abspath(path) for path in sys.path if isinstance(path, str)]
    ours = str(Path(__file__).parents[2])
    here = {path for path in paths if _is_current(path)} - {ours}
    return [*dict.fromkeys(path for path in (*paths, ours) if path not in here), os.getcwd()]


def current_modules() -> list[str]:
    """Modules that this process has imported from the current folder: another one must find them there first."""
    here, found = os.path.realpath(os.getcwd()), []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or not isinstance(file, str) or name in sys.stdlib_module_names:
            continue
        folder = Path(os.path.realpath(file)).parent
        if str(folder.parent if hasattr(module, "__path__") else folder) == here:
            found.append(name)
    return found


def _is_current(path: str) -> bool:
    try:
        return os.path.samefile(path, os.getcwd())
    except OSError:
        return False


class WorkerProcess:
    """One process and the line to it.

    ``shards``, ``parcels`` and ``slots`` are what it was sent in the present crew; ``view`` maps its own slots, and
    ``free`` lists those that are to be used again.  ``silence`` is for how many seconds the driver has listened in vain
    while a task was under way; ``silent``: too many.  ``met``: it has spoken once; ``done``: it is ready for another
    crew.
    """

    def __init__(self) -> None:
        self.channel, theirs = channel_pair()
        try:
            # the system ties processes to threads: one that another thread may inherit must not be
            tied = threading.current_thread() is threading.main_thread()
            variables = {name: value for name, value in os.environ.items() if name != _PATH}
            arguments = json.dumps([theirs.fileno(), os.getpid(), tied, os.environ.get(_PATH), import_path()])
            # a session of its own: the terminal's Ctrl-C is the driver's to hear
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, arguments], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                start_new_session=True, env=variables,
            )  # fmt: skip
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = self.process.pid
        self.met = False
        self.begin()

    def begin(self) -> None:
        """As it is between two crews."""
        self.shards: set[int] = set()
        self.parcels: set[int] = set()
        self.slots: set[int] = set()
        self.view = SharedBufferView()
        self.free: deque[int] = deque()
        self.silence, self.silent, self.done = 0.0, False, False

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def say(self, *message: object, file: int | None = None) -> None:
        """Send a message, now or as soon as the socket takes it."""
        self.channel.put(message, file)
        self.channel.flush()

    def kill(self) -> None:
        """End it at once, also if it is stopped."""
        if not self.gone:
            self.process.kill()
        self.process.wait()
        self.channel.close()
        self.view.close()

    def epitaph(self) -> str:
        """How it ended, after the end of its line."""
        try:
            status = self.process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return f"its process (pid {self.pid}) closed the line to the driver"
        if status >= 0:
            early = "" if self.met else " before it was ready; what it printed may say why"
            return f"its process (pid {self.pid}) ended with status {status}{early}"
        usual = " (out of memory is the usual cause)" if -status == signal.SIGKILL else ""
        return f"its process (pid {self.pid}) was killed by signal {-status}{usual}"


class ProcessCache:
    """Processes that stay between fits; crews take them and give them back, from any thread."""

    def __init__(self) -> None:
        self.idle: list[WorkerProcess] = []
        self.owner = os.getpid()
        self.closed = False
        self.lock = threading.Lock()

    def take(self, n: int) -> list[WorkerProcess]:
        """So many processes, started where there are not enough."""
        with self.lock:
            for process in [process for process in self.idle if process.gone or process.channel.ended]:
                self.idle.remove(process)
                process.kill()
            taken, self.idle = self.idle[:n], self.idle[n:]
        return taken + start(n - len(taken))

    def give_back(self, processes: Sequence[WorkerProcess]) -> None:
        """Those that can work for another crew."""
        with self.lock:
            if not self.closed:
                self.idle += processes
                return
        end(processes)

    def close(self) -> None:
        """End those that are idle now, and others when they come back."""
        with self.lock:
            self.closed = True
            idle, self.idle = self.idle, []
        end(idle)


def start(n: int) -> list[WorkerProcess]:
    """So many new processes, or none and an error."""
    started: list[WorkerProcess] = []
    try:
        for _ in range(n):
            started.append(WorkerProcess())  # noqa: PERF401  (those that were started are to be ended)
    except BaseException:
        end(started)
        raise
    return started


def end(processes: Sequence[WorkerProcess], grace_s: float = 0.0) -> None:
    """End processes; those that have been asked to leave have ``grace_s`` seconds in all to do so."""
    deadline = time.monotonic() + grace_s
    for process in processes:
        if process.silent or not process.met:
            process.process.kill()
    for process in processes:
        try:
            process.process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
