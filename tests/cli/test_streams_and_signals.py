"""Closed, full and broken streams, names that are no UTF-8, and signals cost no work and show no traceback."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import parsgd
from parsgd import cli as command
from parsgd.callbacks import CsvLogger
from parsgd.model_io import model_files
from parsgd.utils.streams import MessageStream

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
# as programs usually run; some machines set unbuffered streams for all
BUFFERED = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"}
FIT = ("fit", "iris", "--max-iter", "3", "--tol", "none", "--workers", "1", "--out")
LONG = ("fit", "digits", "--max-iter", "1000000", "--tol", "none", "--out")


def full(encoding="utf-8"):
    """A stream on a disk that is full."""
    return open("/dev/full", "w", encoding=encoding)


@pytest.fixture
def main(monkeypatch, tmp_path, capfd):
    """Run the whole command in this process, on streams of its own; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("parsgd.cli.output.os.dup2", lambda *files: None)

    def run(*arguments, **streams):
        monkeypatch.setattr(sys, "argv", ["parsgd", *map(str, arguments)])
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as end:
            command.main()
        for name in streams:
            # what is held back cannot be written when the stream is closed either
            with contextlib.suppress(OSError, AttributeError):
                getattr(sys, name).close()
        return end.value.code or 0

    return run


@pytest.mark.parametrize("way", ["lines", "live"])
@pytest.mark.parametrize("streams", [(full, full), (full, io.StringIO), (list, list)], ids=["full", "out", "closed"])
def test_a_fit_writes_its_model_whatever_its_streams_are(way, streams, main, monkeypatch):
    monkeypatch.setenv("PARSGD_PROGRESS", way)
    out, err = (make() or None for make in streams)
    assert main(*FIT, "m", stdout=out, stderr=err) == 0
    assert model_files.load("m").n_iter_ == 3


def test_workers_in_processes_need_no_standard_streams(tmp_path):
    code = (
        "import os; [os.close(n) for n in (0, 1, 2)]; import numpy as np, parsgd;"
        " model = parsgd.SGDClassifier(engine='processes', algorithm='local', n_jobs=2, verbose=1);"
        " X = np.random.default_rng(0).standard_normal((400, 3));"
        " parsgd.save(model.fit(X, X[:, 0] > 0), 'm')"
    )
    assert subprocess.run([sys.executable, "-c", code], env=BUFFERED, cwd=tmp_path, timeout=120).returncode == 0
    assert (tmp_path / "m").exists()


def test_messages_that_cannot_be_written_do_not_fail_the_interpreter_at_its_exit(tmp_path):
    code = "import numpy as np, parsgd; parsgd.SGDRegressor(n_jobs=1, verbose=1).fit(np.eye(9), np.arange(9.0))"
    with open("/dev/full", "w") as full_disk:
        ended = subprocess.run([sys.executable, "-c", code], env=BUFFERED, stdout=full_disk, cwd=tmp_path, timeout=120)
    assert ended.returncode == 0


def test_messages_keep_their_place_among_the_prints_of_a_program():
    code = (
        "import sys; from parsgd.utils.streams import MessageStream; print('first');"
        " print('second', file=MessageStream('stdout')); print('third')"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=BUFFERED, stdout=subprocess.PIPE, timeout=120, text=True)
    assert ended.stdout.split() == ["first", "second", "third"]


def test_data_that_cannot_be_written_to_standard_output_are_an_error_of_one_line(main):
    assert main(*FIT, "m", stdout=io.StringIO()) == 0
    for stream, arguments in (
        (full, ("predict", "m", "iris", "--out", "-")),
        (list, ("predict", "m", "iris", "--out", "-")),
        (full, ("info", "--json")),
        (list, ("info", "--json")),
        (full, (*FIT, "n", "--json")),
        (full, ("--version",)),
        (full, ("fit", "iris", "--out", "m", "--print-config")),
    ):
        err = io.StringIO()
        err.close = lambda: None
        assert main(*arguments, stdout=stream() or None, stderr=err) == 1
        assert err.getvalue().splitlines()[-1].startswith("Error: standard output")
    # the model is there although its report is lost
    assert os.path.exists("n")


def test_data_are_utf_8_and_messages_never_fail_whatever_the_locale(main):
    kinds = np.array(["Köln", "Łódź"])[np.arange(40) % 2]
    pd.DataFrame({"größe": np.arange(40.0) % 2, "kind": kinds}).to_csv("t.csv", index=False)

    def said(*arguments):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        out.close = lambda: None
        assert main(*arguments, stdout=out) == 0
        out.flush()
        return out.buffer.getvalue()

    fit = ("fit", "t.csv", "--target", "kind", "--out", "m")
    for arguments in (fit, ("evaluate", "m", "t.csv"), ("info", "t.csv")):
        assert said(*arguments).isascii()
    assert said("fit", "--help")
    table = pd.read_csv(io.BytesIO(said("predict", "m", "t.csv", "--out", "-")))
    assert table["prediction"].isin(["Köln", "Łódź"]).all()


def test_names_of_files_that_are_no_utf_8_are_names_like_others(cli, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    table = pd.DataFrame({"x": np.arange(40.0) % 2, "kind": np.arange(40) % 2})
    path, model = os.path.join(tmp_path, f"{name}.csv"), os.path.join(tmp_path, name)
    table.to_csv(path, index=False)
    page = f"{model}.html"
    assert cli("fit", path, "--target", "kind", "--out", model, "--report", page).exit_code == 0
    assert os.path.exists(page)
    assert json.loads(cli("evaluate", model, path, "--json").stdout)["rows"] == 40
    for arguments in (("evaluate", model, path), ("info", model), ("info", path), ("report", model, "--out", page)):
        assert cli(*arguments).exit_code == 0
    assert cli("predict", model, path, "--out", f"{model}.out.csv").exit_code == 0
    assert cli("fit", path, "--target", "kind", "--out", model, "--stream").exit_code == 0
    assert cli("info", f"{path}x", code=1).stderr.startswith("Error: ")


@contextlib.contextmanager
def on_a_terminal(*arguments, folder):
    """A command on a terminal of its own, once its fit is under way; gives its process and the terminal's file."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        command = [sys.executable, "-m", "parsgd", *map(str, arguments)]
        os.execve(command[0], command, ENVIRONMENT | {"TERM": "xterm"})
    try:
        seen = b""
        while b"epoch" not in seen:
            seen += os.read(terminal, 10_000)
        yield process, terminal
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.slow
@pytest.mark.alone
def test_a_fit_outlives_its_terminal(tmp_path):
    settings = ("fit", "digits", "--max-iter", "60", "--tol", "none", "--out", "m")
    with on_a_terminal(*settings, folder=tmp_path) as (process, terminal):
        os.close(terminal)
        assert ended(process) == 0
    assert model_files.load(tmp_path / "m").n_iter_ == 60


def test_sigterm_ends_the_round_and_the_model_is_written(tmp_path):
    command = [sys.executable, "-m", "parsgd", *LONG, "m", "--checkpoint", "kept"]
    environment = ENVIRONMENT | {"PARSGD_PROGRESS": "lines", "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as run:
        while not run.stdout.readline().startswith(b"epoch"):
            assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 143
    assert b"the best model so far was saved to m" in said
    assert model_files.load(tmp_path / "m").outcome_ is parsgd.errors.Outcome.INTERRUPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "m"]
    assert all(path.suffix == ".parsgd-checkpoint" for path in (tmp_path / "kept").iterdir())


@pytest.mark.parametrize("step", ["save", "score"])
def test_a_press_after_the_fit_costs_no_model(step, cli, tmp_path, monkeypatch):
    from parsgd.cli import scoring
    from parsgd.cli.tables import modelfile

    place = modelfile if step == "save" else scoring
    work = getattr(place, step)

    def pressing(*arguments, **settings):
        signal.raise_signal(signal.SIGINT)
        return work(*arguments, **settings)

    monkeypatch.setattr(place, step, pressing)
    said = cli("fit", "iris", "--out", tmp_path / "m", code=130).stderr
    assert f"the model was saved to {tmp_path / 'm'}, but not scored" in said
    assert model_files.load(tmp_path / "m").n_iter_ > 0


class Broken(io.StringIO):
    """A stream on which nothing arrives, as on a terminal that was closed."""

    def write(self, text=""):
        raise OSError(5, "Input/output error")

    flush = write


@pytest.mark.parametrize("way", ["lines", "live"])
@pytest.mark.parametrize("stream", [Broken(), None], ids=["broken", "closed"])
def test_what_verbose_shows_costs_no_fit(way, stream, monkeypatch, tmp_path):
    monkeypatch.setenv("PARSGD_PROGRESS", way)
    monkeypatch.setattr(sys, "stdout", stream)
    X, y = np.eye(20), np.arange(20) % 2
    for verbose in (1, 2):
        model = parsgd.SGDClassifier(verbose=verbose, max_iter=3, tol=None, checkpoint=tmp_path / str(verbose))
        assert model.fit(X, y).n_iter_ == 3


def test_a_log_that_can_no_longer_be_written_costs_no_fit(monkeypatch, tmp_path):
    def full(self, run, found):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvLogger, "_write", full)
    model = parsgd.SGDClassifier(max_iter=3, tol=None).set_callbacks(CsvLogger(tmp_path / "log.csv"))
    with pytest.warns(RuntimeWarning, match="CsvLogger stopped writing.*No space left") as warned:
        model.fit(np.eye(20), np.arange(20) % 2)
    assert len(warned) == 1
    assert model.n_iter_ == 3


def test_messages_are_written_with_escapes_where_letters_lack(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    MessageStream("stdout").write("Köln \udce9")
    stream.flush()
    assert stream.buffer.getvalue() == rb"K\xf6ln \udce9"
