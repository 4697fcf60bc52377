"""Data that come through a pipe, JSON and predictions that go into one, readers who leave, and exit codes."""

import importlib.util
import io
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from parsgd.cli.app import app
from parsgd.model_io import model_files


@pytest.fixture
def piped(cli, monkeypatch):
    """The command with bytes at its standard input."""

    def run(content, *arguments, code=0):
        stdin = SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("parsgd.cli.tables.read_data.sys", SimpleNamespace(stdin=stdin))
        return cli(*arguments, code=code)

    return run


def test_rows_from_a_pipe_are_those_of_the_file(cli, piped, table_csv, tmp_path):
    content = table_csv.read_bytes()
    options = ("--target", "kind", "--drop", "y", "--max-iter", "3")
    cli("fit", table_csv, *options, "--out", tmp_path / "a")
    piped(content, "fit", "-", *options, "--out", tmp_path / "b")
    assert np.array_equal(model_files.load(tmp_path / "a").coef_, model_files.load(tmp_path / "b").coef_)
    ours = piped(content, "predict", tmp_path / "a", "-", "--out", "-")
    assert ours.stdout == cli("predict", tmp_path / "a", table_csv, "--out", "-").stdout
    ours, theirs = piped(content, "evaluate", tmp_path / "a", "-", "--json"), ("evaluate", tmp_path / "a", table_csv)
    assert json.loads(ours.stdout)["scores"] == cli.report(*theirs)["scores"]
    assert json.loads(piped(content, "info", "-", "--json").stdout)["rows"] == 200


def test_a_model_that_was_fitted_on_a_stream_takes_a_pipe(cli, piped, table_csv, tmp_path):
    cli("fit", table_csv, "--target", "kind", "--drop", "y", "--stream", "--out", tmp_path / "m")
    content = table_csv.read_bytes()
    assert piped(content, "predict", tmp_path / "m", "-", "-o", "-").stdout.count("\n") == 201


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "standard input: the file is empty"),
        (b"\xff\xfe\x00", "standard input: is not UTF-8 text, but UTF-16"),
        (b"age,kind\n", "standard input: has no rows"),
    ],
)
def test_a_pipe_of_something_else_is_told(content, said, piped, tmp_path):
    assert said in piped(content, "fit", "-", "--target", "kind", "--out", tmp_path / "m", code=1).stderr


def test_a_pipe_cannot_be_streamed_or_closed(cli, piped, tmp_path, monkeypatch):
    out = ("--target", "y", "--out", tmp_path / "m")
    for more in (("--stream",), ("other.csv",)):
        assert "-: standard input cannot be streamed" in piped(b"", "fit", "-", *more, *out, code=2).stderr
    monkeypatch.setattr("parsgd.cli.tables.read_data.sys", SimpleNamespace(stdin=None))
    assert "standard input is closed" in cli("fit", "-", *out, code=1).stderr


def test_with_json_there_is_one_object_on_standard_output_and_nothing_else(cli, table_csv, tmp_path):
    model, kept = tmp_path / "m.parsgd", tmp_path / "kept"
    fit = ("fit", table_csv, "--target", "kind", "--drop", "y", "--max-iter", "2", "--out", model, "--checkpoint", kept)
    commands = {
        "fit": fit,
        "predict": ("predict", model, table_csv, "--out", tmp_path / "p.csv"),
        "evaluate": ("evaluate", model, table_csv),
        "plan": ("plan", table_csv, "--target", "kind", "--workers", "1,2", "--seconds", "0.1s"),
        "simulate": ("simulate", "iris", "--speeds", "1,1", "--passes", "1", "--algorithm", "local"),
        "report": ("report", model, "--out", tmp_path / "page.html"),
        "info": ("info", model),
        "bench": ("bench", "--rows", "30", "--repeats", "1"),
        "compile": ("compile", "--only", "binary", "--dense"),
    }
    if importlib.util.find_spec("onnx"):
        commands["export"] = ("export", model, "--onnx", tmp_path / "m.onnx", "--encoded")
        # tests/cli/test_train_torch.py reads that of train-torch
        assert {*commands, "train_torch"} == {command.callback.__name__ for command in app.registered_commands}
    for name, arguments in commands.items():
        result = cli(*arguments, "--json")
        assert isinstance(json.loads(result.stdout), dict), name
    # the warning that the passes were too few is said beside it
    result = cli(*fit[:-2], "--json")
    assert "Note: Maximum number of iteration" in result.stderr
    assert json.loads(result.stdout)["warnings"]


def test_predictions_and_json_do_not_share_standard_output(cli, table_csv, tmp_path):
    said = cli("predict", tmp_path / "m", table_csv, "--out", "-", "--json", code=2).stderr
    assert "give --out a file" in said


@pytest.mark.slow  # the tests above read pipes, and test_command.py writes to one in a process of its own
def test_a_pipeline_of_processes(started, cli, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m", "--target", "kind", "--drop", "y")
    process = started("predict", tmp_path / "m", "-", "--out", "-")
    out, err = process.communicate(table_csv.read_text(encoding="utf-8"), timeout=120)
    assert process.returncode == 0
    assert pd.read_csv(io.StringIO(out))["prediction"].isin(["large", "small"]).all()
    assert "200 predictions" in err


def said_after_the_reader_left(process):
    process.stdout.close()
    # a first fit may say that it compiles
    return [line for line in process.stderr.read().splitlines() if "compiling kernels" not in line]


@pytest.mark.slow
def test_a_fit_outlives_whoever_read_what_it_says(started, tmp_path):
    process = started("fit", "digits", "--out", tmp_path / "m", "--max-iter", "5", "--tol", "none")
    assert said_after_the_reader_left(process) == []
    assert process.wait(timeout=120) == 0
    assert model_files.load(tmp_path / "m").n_iter_ == 5


@pytest.mark.parametrize("arguments", [("info", "--json"), ("--help",)])
def test_a_reader_who_has_had_enough_of_text_sees_no_traceback(arguments, started):
    assert said_after_the_reader_left(started(*arguments)) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--version",), 0, ""),
        (("info", "iris"), 0, ""),
        (("info", "iris.csv"), 1, "the file does not exist"),
        (("fit", "iris", "--out", "m", "--max-iter", "many"), 2, "Invalid value for '--max-iter'"),
        (("fit", "iris"), 2, "Missing option '--out'"),
        (("fit",), 2, "Missing argument 'DATA"),
        (("fit", "iris", "--out", "m", "--alhpa", "1"), 2, "--alpha"),
        (("fit", "iris", "--out", "m", "--jobs", "2"), 2, "--workers"),
        (("fit", "iris", "--out", "m", "--epochs", "2"), 2, "--max-iter"),
        (("predcit",), 2, "Did you mean 'predict'"),
        (("bench", "--threads", "2"), 2, "--workers"),
    ],
)
def test_exit_codes_and_the_nearest_thing_to_type(arguments, code, said, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in cli(*arguments, code=code).stderr
    assert list(tmp_path.iterdir()) == []
