"""Addresses on which the processes of an engine listen: none beyond this machine, and none with processes."""

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


# tries to join the cluster, with its token and without it
TWO_PROGRAMS = """
import json, os, secrets, subprocess, sys
from parsgd.engines.ray.ray_engine import Ray

if __name__ == "__main__":
    # Ray finds no node otherwise, because the machine has other addresses, too
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    secrets.token_hex = lambda n_bytes: "1" * 64
    joined = []
    with Ray(n_processes=1):
        import ray
        join = f"import ray; ray.init(address='{ray.get_runtime_context().gcs_address}'); print('joined')"
        for settings in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}, {"RAY_AUTH_MODE": "disabled"}):
            with subprocess.Popen(
                [sys.executable, "-c", join], env=os.environ | settings, stdout=subprocess.PIPE, text=True
            ) as process:
                try:
                    joined.append("joined" in process.communicate(timeout=20)[0])
                except subprocess.TimeoutExpired:
                    process.kill()
                    joined.append(False)
    print(json.dumps(joined))
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
    (tmp_path / "fit.py").write_text(TWO_PROGRAMS)
    done = subprocess.run(
        [sys.executable, tmp_path / "fit.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, False]


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
