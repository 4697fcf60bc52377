"""Connection to a Dask cluster, including resources that were started for it and must end with it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dask import config  # pyright: ignore[reportPrivateImportUsage]  (documented, but not in __all__)
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.security import Security

from parsgd.errors import InvalidArgumentError, WorkersLostError
from parsgd.utils import temporary

# Seconds between two checks for the scheduler file.
_POLL_S = 0.1


@dataclass
class DaskConnection:
    """A ``client``, and the environment variables that Dask ``changed`` for workers.

    ``close`` closes the resources that were started for the client; none for a given client.

    >>> DaskConnection(None).close()
    """

    client: Client
    close: Callable[[], object] = lambda: None
    changed: Mapping[str, str | None] = field(default_factory=dict[str, str | None])

    def tidy(self) -> None:
        """Restore the environment variables; Dask changes them in this process whenever it starts a worker."""
        _restore(self.changed)


def connect_to(address: str | None, scheduler_file: str | None, worker_timeout_s: float) -> DaskConnection:
    """Connect a new client to a running scheduler.

    Raises WorkersLostError if the scheduler does not answer, and InvalidArgumentError if it needs certificates that
    Dask's configuration does not name.
    """
    where = address
    if scheduler_file is not None:
        address = _address_in(scheduler_file, worker_timeout_s)
        where = f"{address}, which {scheduler_file} names,"
    # Dask annotates few of its functions
    certificates = cast("Any", Security()).get_connection_args("client").get("ssl_context")
    if str(address).startswith("tls://") and certificates is None:
        raise InvalidArgumentError(
            f"The Dask scheduler at {where} asks for certificates, and Dask's configuration names none. Name them under"
            " distributed.comm.tls in the configuration of this process, or connect yourself:"
            " Dask(client=Client(address, security=...))."
        )
    try:
        client = Client(address, timeout=worker_timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkersLostError(
            f"The Dask scheduler at {where} does not answer: {error} Make sure it is running and reachable."
        ) from error
    # Dask annotates few of its functions
    return DaskConnection(client, cast("Any", client).close)


def _address_in(scheduler_file: str, worker_timeout_s: float) -> str:
    """Return the address in a scheduler file; a Client would wait for the file without a limit."""
    end, why = time.monotonic() + worker_timeout_s, ""
    while True:
        try:
            return str(json.loads(Path(scheduler_file).read_bytes())["address"])
        except FileNotFoundError:
            why = "there is no such file"
        except OSError as error:
            why = f"it cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError):
            # it may be incomplete, still being written
            why = "it contains no scheduler address"
        if time.monotonic() > end:
            raise WorkersLostError(
                f"{scheduler_file}: {why}, after {worker_timeout_s:g} s. Start a scheduler that writes it:"
                f" dask scheduler --scheduler-file {scheduler_file}"
            )
        time.sleep(_POLL_S)


def start_local(n_processes: int | None, n_workers: int, memory_limit: str | float | None) -> DaskConnection:
    """Start a cluster of processes on this machine, each with one thread; they leave no files."""
    with contextlib.ExitStack() as opened:
        folder = temporary.TemporaryFolder("dask")
        opened.callback(folder.close)
        before = dict(os.environ)
        changed: dict[str, str | None] = {}
        opened.callback(_restore, changed)
        # port 0, because None means port 8787 and a warning if it is in use; only this machine may see the page;
        # safe path, because the processes must not import a json.py of the current folder
        with config.set({"distributed.nanny.pre-spawn-environ.PYTHONSAFEPATH": "1"}):
            cluster = LocalCluster(
                n_workers=n_processes or max(1, min(n_workers, CPU_COUNT)),
                threads_per_worker=1,
                processes=True,
                memory_limit=memory_limit,
                dashboard_address="localhost:0",
                local_directory=folder.path,
            )
        opened.enter_context(cluster)
        # Dask sets its workers' environment in this process whenever it starts one
        changed |= {name: before.get(name) for name, value in os.environ.items() if value != before.get(name)}
        _restore(changed)
        client = opened.enter_context(Client(cluster, set_as_default=False))
        return DaskConnection(client, opened.pop_all().close, changed)


def _restore(variables: Mapping[str, str | None]) -> None:
    """Restore environment variables; None: unset."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
