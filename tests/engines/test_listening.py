"""Addresses on which the processes of an engine listen: none beyond this machine, and none with threads and processes."""

import ipaddress
import json
import os
import subprocess
import sys
from unittest import mock

import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from parsgd import LocalSGD, SGDClassifier
from parsgd.engines.dask.dask_engine import Dask
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(300, 6)
Y = labels(X, 2)

# in a process of its own, which has no other sockets
PROGRAM = """
import json
import sys
import psutil
from parsgd import LocalSGD, SGDClassifier, observe_progress
from parsgd.engines.{module} import {engine}
from parsgd.testing.problems import labels, unit_rows

def addresses():
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip

if __name__ == "__main__":
    X = unit_rows(300, 6)
    found = set()
    n_processes = set()
    def look(event):
        found.update(addresses())
        n_processes.add(1 + len(psutil.Process().children(recursive=True)))
    with {engine}(n_processes=2) as engine, observe_progress(look):
        model = SGDClassifier(algorithm=LocalSGD(0.5), engine=engine, n_jobs=2, max_iter=3, tol=None)
        model.fit(X, labels(X, 2))
        look(None)
    print(json.dumps([sorted(found), max(n_processes)]))
"""


OTHER_PROGRAM = """
import json, os, subprocess, sys
from parsgd.engines.ray.ray_engine import Ray

if __name__ == "__main__":
    with Ray(n_processes=1):
        import ray
        address = ray.get_runtime_context().gcs_address
        done = subprocess.run([sys.executable, sys.argv[1], address], capture_output=True, text=True, timeout=60)
        print(json.dumps([done.returncode, done.stderr]))
"""


@pytest.mark.parametrize(
    ("module", "engine", "listens"),
    [
        ("processes.process_engine", "Processes", False),
        ("dask.dask_engine", "Dask", True),
        pytest.param("ray.ray_engine", "Ray", True, marks=pytest.mark.slow),
    ],
)
def test_nothing_listens_beyond_this_machine(tmp_path, module, engine, listens):
    pytest.importorskip(f"parsgd.engines.{module}", reason="needs parsgd[ray]")
    script = tmp_path / "fit.py"
    script.write_text(PROGRAM.format(module=module, engine=engine))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, n_processes = json.loads(done.stdout.splitlines()[-1])
    assert n_processes >= 3
    assert bool(found) == listens
    assert all(loopback(address) for address in found), found


def loopback(address):
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@pytest.mark.slow
def test_a_local_ray_cluster_refuses_programs_without_its_token(tmp_path):
    pytest.importorskip("ray", minversion="2.60", reason="needs parsgd[ray], with authentication")
    (tmp_path / "other.py").write_text("import sys, ray; ray.init(address=sys.argv[1])")
    (tmp_path / "fit.py").write_text(OTHER_PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "fit.py", tmp_path / "other.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, error = json.loads(done.stdout.splitlines()[-1])
    assert code != 0
    assert "uthentication" in error


def test_a_cluster_with_certificates():
    pytest.importorskip("cryptography")
    settings = {"algorithm": LocalSGD(0.5), "n_jobs": 2, "max_iter": 2, "tol": None, "random_state": 3}
    expected = SGDClassifier(engine="serial", **settings).fit(X, Y).coef_
    with (
        # Dask sets the environment of its workers in this process
        mock.patch.dict(os.environ),
        LocalCluster(
            n_workers=2, threads_per_worker=1, security=Security.temporary(), dashboard_address="localhost:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.scheduler.address.startswith("tls://")
        assert (SGDClassifier(engine=Dask(client=client), **settings).fit(X, Y).coef_ == expected).all()
        with pytest.raises(InvalidArgumentError, match=r"asks for certificates.*distributed\.comm\.tls"):
            SGDClassifier(engine=Dask(address=client.scheduler.address), **settings).fit(X, Y)
