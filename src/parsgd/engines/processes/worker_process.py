"""Worker processes on the driver's side: start, messages and end; and a cache of processes kept between fits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from parsgd.engines.processes import messages
from parsgd.engines.processes.channel import Channel, socket_pair

# With -P and without PYTHONPATH the interpreter finds only its own modules until it has the driver's path.
_BOOT = (
    "import json, os, sys; file, driver, tied, variable, sys.path[:] = json.loads(sys.argv[1]);"
    " variable is None or os.environ.update(PYTHONPATH=variable);"
    " from parsgd.engines.processes.worker_main import main; main(file, driver, tied)"
)
_PATH = "PYTHONPATH"
# Maximum time between the end of a connection and the exit of its process.
_REAP_SECONDS = 5.0


def import_path() -> list[str]:
    """Return the import path of this process, for another one in the same folder.

    The current folder comes last: a file in it must not shadow a module of a library.
    """
    entries: list[object] = list(sys.path)  # programs put other objects into it, too
    paths = [os.path.abspath(path) for path in entries if isinstance(path, str)]
    ours = str(Path(__file__).parents[3])
    here = {path for path in paths if _is_current(path)} - {ours}
    return [*dict.fromkeys(path for path in (*paths, ours) if path not in here), os.getcwd()]


def current_modules() -> list[str]:
    """Return the modules that this process has imported from the current folder; workers must find them there first."""
    here = os.path.realpath(os.getcwd())
    found: list[str] = []
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
    """A worker process and the connection to it.

    ``shards`` lists those sent to it in the present fit.  ``silent_s`` counts seconds without a message while a task is
    running; ``silent`` is True after the timeout.  ``ready`` is True when it has started, and again after each fit.
    """

    def __init__(self) -> None:
        ours, theirs = socket_pair()
        self.channel: Channel[messages.FromWorker] = Channel(ours)
        try:
            # the system binds a child to the thread that starts it, so only the main thread may request this
            tied = threading.current_thread() is threading.main_thread()
            variables = {name: value for name, value in os.environ.items() if name != _PATH}
            arguments = json.dumps([theirs.fileno(), os.getpid(), tied, os.environ.get(_PATH), import_path()])
            # a new session: Ctrl-C on the terminal reaches only the driver
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=variables,
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid: int = self.process.pid
        self.ready = False
        self.shards: set[int] = set()
        self.silent_s: float = 0.0
        self.silent: bool = False

    @property
    def exited(self) -> bool:
        """True if the process has exited."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill the process, even if it is stopped."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def exit_reason(self) -> str:
        """Return a description of the exit, after the connection has ended."""
        try:
            status = self.process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return f"its process (pid {self.pid}) closed its connection to the driver"
        if status >= 0:
            early = "" if self.ready else " before it was ready; see its output for the reason"
            return f"its process (pid {self.pid}) ended with status {status}{early}"
        usual = " (out of memory is the usual cause)" if -status == signal.SIGKILL else ""
        return f"its process (pid {self.pid}) was killed by signal {-status}{usual}"


class ProcessCache:
    """Processes that are kept between fits; pools take and return them from any thread.  A closed cache keeps none."""

    def __init__(self, closed: bool = False) -> None:
        self.idle: list[WorkerProcess] = []
        self.owner: int = os.getpid()
        self.closed = closed
        self.lock: threading.Lock = threading.Lock()

    def take(self, n: int) -> list[WorkerProcess]:
        """Return ``n`` processes, and start those that are missing; on an error, end all of them and raise it."""
        with self.lock:
            lost = [process for process in self.idle if process.exited or process.channel.ended]
            idle = [process for process in self.idle if process not in lost]
            taken, self.idle = idle[:n], idle[n:]
        end(lost)
        try:
            while len(taken) < n:
                taken.append(WorkerProcess())
        except BaseException:
            end(taken)
            raise
        return taken

    def give_back(self, processes: Sequence[WorkerProcess]) -> None:
        """Return processes that are ready for another pool."""
        with self.lock:
            if not self.closed:
                self.idle += processes
                return
        end(processes)

    def close(self) -> None:
        """End the idle processes now, and others when they are returned."""
        with self.lock:
            self.closed = True
            idle, self.idle = self.idle, []
        end(idle)


def end(processes: Sequence[WorkerProcess]) -> None:
    """Kill processes, even if they are stopped."""
    for process in processes:
        process.process.kill()
    for process in processes:
        process.kill()
