"""A client of a Dask cluster, and what was started for it and must end with it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from parsgd.errors import WorkersLostError
from parsgd.utils import temporary

# How often to look whether the file of a scheduler is there.
_LOOK_S = 0.1


class DaskConnection:
    """``client``, with ``closing``: what to close, in that order.

    >>> DaskConnection(None).close()
    """

    def __init__(
        self, client: Any, closing: contextlib.ExitStack | None = None, changed: Mapping[str, str | None] | None = None
    ):
        self.client = client
        self._closing = closing or contextlib.ExitStack()
        self._changed = changed or {}

    def tidy(self) -> None:
        """Set back what Dask changed in this process's environment when it started a worker."""
        _set_back(self._changed)

    def close(self) -> None:
        """End what was started for it: nothing, if the client was given."""
        self._closing.close()


def connect_to(address: str | None, scheduler_file: str | None, worker_timeout_s: float) -> DaskConnection:
    """A client of its own for a scheduler that runs somewhere.  Raises WorkersLostError if it does not answer."""
    where = address
    if scheduler_file is not None:
        address = _address_in(scheduler_file, worker_timeout_s)
        where = f"{address}, which {scheduler_file} names,"
    with contextlib.ExitStack() as opened:
        try:
            client = opened.enter_context(Client(address, timeout=worker_timeout_s, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise WorkersLostError(
                f"The Dask scheduler at {where} does not answer: {error} Is it running, and reachable from here?"
            ) from error
        return DaskConnection(client, opened.pop_all())


def _address_in(scheduler_file: str, worker_timeout_s: float) -> str:
    """The address that a scheduler wrote; a Client would wait for the file for ever."""
    end, why = time.monotonic() + worker_timeout_s, ""
    while True:
        try:
            return str(json.loads(Path(scheduler_file).read_bytes())["address"])
        except FileNotFoundError:
            why = "there is no such file"
        except OSError as error:
            why = f"it cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError):
            # it may be being written
            why = "it holds no address of a scheduler"
        if time.monotonic() > end:
            raise WorkersLostError(
                f"{scheduler_file}: {why}, after {worker_timeout_s:g} s of waiting. Start a scheduler that writes it:"
                f" dask scheduler --scheduler-file {scheduler_file}"
            )
        time.sleep(_LOOK_S)


def start_local(n_processes: int | None, n_workers: int, memory_limit: Any) -> DaskConnection:
    """A cluster of this machine's processes, each with one thread; they leave nothing on disk."""
    with contextlib.ExitStack() as opened:
        folder = temporary.TemporaryFolder("dask")
        opened.callback(folder.close)
        before, changed = dict(os.environ), {}
        opened.callback(_set_back, changed)
        # None would mean port 8787, and a warning where it is taken
        # and its processes are not to run a json.py of the current folder
        with dask.config.set({"distributed.nanny.pre-spawn-environ.PYTHONSAFEPATH": "1"}):
            cluster = LocalCluster(
                n_workers=n_processes or max(1, min(n_workers, CPU_COUNT)), threads_per_worker=1, processes=True,
                memory_limit=memory_limit, dashboard_address=":0", local_directory=folder.path,
            )  # fmt: skip
        opened.enter_context(cluster)
        # Dask sets its workers' environment in this process, whenever it starts one
        changed |= {name: before.get(name) for name, value in os.environ.items() if value != before.get(name)}
        _set_back(changed)
        client = opened.enter_context(Client(cluster, set_as_default=False))
        return DaskConnection(client, opened.pop_all(), changed)


def _set_back(variables: Mapping[str, str | None]) -> None:
    """Environment variables as they were; None: not set."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
