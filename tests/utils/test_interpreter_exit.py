"""Fits that go on while the interpreter ends, and temporary files that do not outlive their process."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import parsgd
from parsgd.utils import temporary
from parsgd.utils.atomic_io import write_atomically

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
LATE = """
import threading, numpy as np, parsgd

def late():
    threading.main_thread().join()
    X = np.random.default_rng(0).normal(size=(400, 5))
    y = (X[:, 0] > 0).astype(int)
    blocks = ((X[i : i + 100], y[i : i + 100]) for i in range(0, 400, 100))
    data = parsgd.open_dataset(blocks, shuffle_buffer_rows=64)
    for engine in ("serial", "threads", "processes"):
        for rows in ((X, y), (data,))[engine == "processes" :]:
            model = parsgd.SGDClassifier(engine=engine, n_jobs=2, max_iter=2, tol=None).fit(*rows)
            print(engine, model.outcome_.name, model.score(X, y) > 0.7)
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("parsgd")]
    print("left:", left)

threading.Thread(target=late).start()
"""


def run(code, folder, **settings):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = ENVIRONMENT | {"TMPDIR": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **settings)


def test_a_fit_in_a_thread_that_outlives_the_main_thread_comes_to_its_end(tmp_path):
    ended = run(LATE, tmp_path)
    engines = ("serial", "serial", "threads", "threads", "processes")
    assert ended.stdout.splitlines() == [*(f"{engine} MAX_EPOCHS True" for engine in engines), "left: []"]
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


SPOOLED = """
import os, signal
from parsgd.utils import temporary
folder = temporary.TemporaryFolder("blocks")
(folder.path / "file").touch()
assert [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("parsgd-blocks-")]
{end}
"""
ENDS = {
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "hung up": ("os.kill(os.getpid(), signal.SIGHUP)", -signal.SIGHUP),
    "interrupted": ("os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)", -signal.SIGINT),
    "error": ("raise ValueError", 1),
    "end": ("", 0),
}


def test_no_end_of_a_process_leaves_temporary_folders(tmp_path):
    for name, (end, code) in ENDS.items():
        assert run(SPOOLED.format(end=end), tmp_path).returncode == code, name
        assert list(tmp_path.iterdir()) == [], name


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    assert run(SPOOLED.format(end="os.kill(os.getpid(), signal.SIGKILL)"), tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert run(SPOOLED.format(end=""), tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_being_written_leave_nothing_either(tmp_path):
    target = tmp_path / "model"
    writing = f"""
    import os, signal
    from parsgd.utils.atomic_io import write_atomically
    with write_atomically({str(target)!r}) as path:
        path.write_text("half")
        os.kill(os.getpid(), signal.{{}})
    """
    assert run(writing.format("SIGTERM"), tmp_path).returncode == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert run(writing.format("SIGKILL"), tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with write_atomically(target) as path:
        path.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.alone
def test_a_process_that_was_forked_removes_nothing_of_its_parent(tmp_path):
    folder = temporary.TemporaryFolder("test")
    child = os.fork()
    if child == 0:
        folder.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.exists()
    folder.close()
    assert not folder.path.exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_handlers_are_those_of_before_when_nothing_temporary_is_left(signum):
    before = signal.getsignal(signum)
    data = parsgd.open_dataset(block for block in [(np.zeros((3, 2)), np.zeros(3))])
    assert signal.getsignal(signum) is not before
    del data
    assert signal.getsignal(signum) is before
