"""Connection to a Ray cluster, including one that was started for it and must end with it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import joblib

from parsgd.engines.ray.actor_hosts import ActorCache, n_free_cores
from parsgd.engines.ray.ray_api import constants, ray
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError, WorkersLostError
from parsgd.utils import temporary

# Time limit for the processes of a cluster to end, and seconds between two attempts to remove their files.
_REMOVE_S, _POLL_S = 5.0, 0.05
# Seconds to wait for a free core inside a task.
_FREE_S = 2.0
# Environment of the processes of a local cluster.  On macOS and Windows Ray uses the address of the loopback interface
# unless this variable has another value; with it, Ray does so on Linux, too.
_LOCALHOST = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# The longest path of a socket, minus the length of the names that Ray appends to its folder.
_MAX_FOLDER = 107 - 65


@dataclass
class RaySession:
    """A connection, and the actors that wait for the next fit; ``close`` ends what was started for it."""

    close: Callable[[], object] = lambda: None
    cache: ActorCache = field(default_factory=lambda: ActorCache(closed=True))


# Open ``with`` blocks of this process: all engines use the actors of the innermost one.
_kept: list[RaySession] = []


def keep(session: RaySession) -> None:
    """Keep a session and its actors for all further fits of this process."""
    _kept.append(RaySession(session.close, ActorCache()))


def close_kept() -> None:
    """End the session that was kept last."""
    session = _kept.pop()
    try:
        session.cache.close()
    finally:
        session.close()


def cluster_session() -> RaySession | None:
    """Return a session on the cluster to which this process is connected; None if there is none."""
    if not ray.is_initialized():
        return None
    return RaySession(cache=_kept[-1].cache) if _kept else RaySession()


def session_of_environment(worker_timeout_s: float) -> RaySession | None:
    """Connect to the cluster that ``RAY_ADDRESS`` names, as ``ray.init()`` does; None if it names none."""
    address = os.environ.get("RAY_ADDRESS", "local")
    return None if address in ("", "local") else connect_to(address, worker_timeout_s)


def connect_to(address: str, worker_timeout_s: float) -> RaySession:
    """Connect to a running cluster.

    Raises WorkersLostError if it does not answer, and IncompatiblePartsError if this process is connected to another.
    """
    session = cluster_session()
    if session is not None:
        connected = str(ray.get_runtime_context().gcs_address)
        if address not in ("auto", connected):
            raise IncompatiblePartsError(
                f"Ray(address={address!r}) was used in a process that is connected to the Ray cluster at {connected}."
                " Use Ray() for that cluster, or call ray.shutdown() before."
            )
        return session
    if address != "auto":
        _check_answers(address, worker_timeout_s)
    try:
        with _restored():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkersLostError(
            f"The Ray cluster at {address} cannot be used: {error} Make sure it is running: ray start --head"
        ) from error
    return RaySession(ray.shutdown)


def _check_answers(address: str, timeout_s: float) -> None:
    """Raise unless something listens at the address; Ray would wait for it long and then end this process."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise InvalidArgumentError(
            f"The 'address' parameter of Ray must be \"auto\" or HOST:PORT. Got {address!r}; connections by Ray Client"
            " (ray://) are not supported: run the program on a node of the cluster, or submit it as a Ray job."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), min(timeout_s, 1e6)).close()
    except (OSError, OverflowError) as error:
        raise WorkersLostError(
            f"The Ray cluster at {address} does not answer: {error}. Make sure it is running and reachable."
        ) from error


def start_local(n_processes: int | None, n_workers: int) -> RaySession:
    """Start a cluster on this machine, which listens on the loopback interface only and leaves no files."""
    n_cores = n_processes or max(1, min(n_workers, joblib.cpu_count()))
    with contextlib.ExitStack() as opened:
        folder = _folder(opened)
        with _restored(), _environment(), _only_localhost():
            opened.callback(_read_authentication)
            _read_authentication()
            opened.callback(ray.shutdown)
            ray.init(
                num_cpus=n_cores,
                address="local",
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
                log_to_driver=False,
                configure_logging=False,
            )
        return RaySession(opened.pop_all().close)


def _folder(opened: contextlib.ExitStack) -> Path:
    """Return a temporary folder; the names of Ray's sockets are long, and the system limits their length."""
    folder = temporary.TemporaryFolder("ray")
    if len(str(folder.path)) > _MAX_FOLDER:
        folder.close()
        folder = temporary.TemporaryFolder("ray", Path("/tmp"))
    opened.callback(folder.close)
    opened.callback(_remove, folder.path)
    return folder.path


def _remove(folder: Path) -> None:
    """Remove the contents of a folder; processes of Ray that are about to end may still write to it."""
    end = time.monotonic() + _REMOVE_S
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_POLL_S)


@contextlib.contextmanager
def _environment() -> Generator[None]:
    """Set the environment of a new cluster: a token of its own, which is written to no file, and no statistics."""
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        _LOCALHOST: "0",
        # its processes must not import a json.py of the current folder
        "PYTHONSAFEPATH": "1",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _only_localhost() -> Generator[None]:
    """Let this process use the address of the loopback interface: Ray reads the variable when it is imported."""
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _restored() -> Generator[None]:
    """Undo Ray's changes of the environment and of the handler of SIGTERM."""
    before = dict(os.environ)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        changed = {name for name in os.environ.keys() | before.keys() if os.environ.get(name) != before.get(name)}
        _set_environment({name: before.get(name) for name in changed if name.startswith(("RAY_", "PYTHONBREAK"))})
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _read_authentication() -> None:
    """Let Ray read its token and the mode of authentication again; versions before 2.52 have neither."""
    loader = getattr(ray._raylet, "AuthenticationTokenLoader", None)
    if loader is not None:
        ray._raylet.Config.initialize("")
        loader.instance().reset_cache()


def refuse_full_cluster() -> None:
    """Raise inside a task or an actor of Ray that runs on a cluster without a free core."""
    if not inside_task():
        return
    # the cluster reports a core some time after its last user has ended
    end = time.monotonic() + _FREE_S
    while n_free_cores() < 1:
        if time.monotonic() < end:
            time.sleep(_POLL_S)
            continue
        raise IncompatiblePartsError(
            "engine='ray' was used inside a task or an actor of Ray, and the cluster has no free core: the fit would"
            " wait for the task that runs it. Use engine='threads' there, or fit in the driver's program."
        )


def inside_task() -> bool:
    """Return True inside a task or an actor of Ray."""
    return ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
