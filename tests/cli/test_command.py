"""The command as a process: entry point, exit codes, Ctrl-C, pipes, and errors inside."""

import json
import signal
import sys

import pytest

import parsgd
from parsgd import cli as command
from parsgd.errors import Outcome
from parsgd.model_io import model_files


@pytest.mark.alone
def test_the_module_is_the_command(started, tmp_path):
    def run(*arguments):
        process = started(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    code, out, err = run("fit", "iris", "--out", tmp_path / "m", "--json")
    # progress is told beside the JSON
    assert (code, err.split()[0]) == (0, "epoch")
    assert json.loads(out)["rows"] == {"training": 120, "test": 30}
    code, out, err = run("predict", tmp_path / "m", "iris", "--out", "-")
    assert code == 0
    assert len(out.splitlines()) == 151
    code, out, err = run("predict", tmp_path / "m", "irish", "--out", "-")
    assert (code, out) == (1, "")
    assert err.startswith("Error: irish: the file does not exist. Did you mean 'iris'?")


@pytest.mark.slow  # test_checkpoints.py presses Ctrl-C in this process, and SIGTERM goes to a process of its own
def test_ctrl_c_keeps_the_best_model_and_says_so(started, tmp_path):
    out = tmp_path / "m"
    process = started("fit", "digits", "--out", out, "--max-iter", "10000000", "--tol", "none")
    # the fit is under way once it tells of its progress
    lines = []
    while not any(line.startswith("epoch") for line in lines):
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert Outcome.INTERRUPTED.value in said
    assert f"the best model so far was saved to {out}" in complaint
    assert "Traceback" not in complaint
    model = model_files.load(out)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.slow
@pytest.mark.alone
def test_a_reader_who_has_had_enough_is_no_error_worth_a_traceback(started, cli, tmp_path):
    cli.fit("digits", tmp_path / "m", "--loss", "log_loss")
    process = started("predict", tmp_path / "m", "digits", "--out", "-")
    process.stdout.readline()
    process.stdout.close()
    assert [line for line in process.stderr.read().splitlines() if "compiling kernels" not in line] == []


@pytest.mark.parametrize("name", ["typer", "rich", "safetensors", "pandas"])
def test_without_its_libraries_the_command_says_how_to_get_them(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "argv", ["parsgd", "--version"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 1
    assert capsys.readouterr().err == f"The command parsgd needs {name}: pip install 'parsgd[cli]'\n"


def test_help_and_version(cli):
    assert cli("--version").stdout.strip() == f"parsgd {parsgd.__version__}"
    assert {"fit", "predict", "evaluate"} <= set(cli("--help").stdout.split())
    said = cli("fit", "--help").stdout
    for option in ("--target", "--loss", "--workers", "--round-seconds", "--no-standardize", "--json", "--out"):
        assert option in said


def test_an_error_inside_is_not_hidden(cli, tmp_path, monkeypatch):
    """A bug shows its traceback: only what can be expected becomes a message."""

    def fail(*arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("parsgd.cli.scoring.score", fail)
    with pytest.raises(ZeroDivisionError):
        cli.fit("iris", tmp_path / "m")
    # the fit's work was saved before the bug struck
    assert model_files.load(tmp_path / "m").n_iter_ == 3
