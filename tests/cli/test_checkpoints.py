"""``parsgd fit --checkpoint``: it goes on where it was ended, and says what is in the way."""

import os
import signal

import pytest

import parsgd
from parsgd.checkpointing.store import CheckpointStore
from parsgd.model_io import model_files

ARGUMENTS = ("--target", "kind", "--drop", "y", "--workers", "2", "--algorithm", "local")


@pytest.mark.slow
def test_more_passes_are_those_of_a_longer_fit(cli, table_csv, tmp_path):
    arguments = (table_csv, *ARGUMENTS, "--tol", "none")
    kept = (*arguments, "--checkpoint", tmp_path / "kept", "--checkpoint-seconds", "0", "--resume")
    first = cli.report("fit", *kept, "--out", tmp_path / "a", "--max-iter", "3")
    second = cli.report("fit", *kept, "--out", tmp_path / "a", "--max-iter", "5")
    assert (first["resumed_from"], second["resumed_from"]) == (None, 30)
    assert cli.report("fit", *arguments, "--out", tmp_path / "b", "--max-iter", "5")["resumed_from"] is None
    ours, theirs = model_files.load(tmp_path / "a"), model_files.load(tmp_path / "b")
    assert (ours.coef_ == theirs.coef_).all()
    assert CheckpointStore(tmp_path / "kept").rounds() == [49, 50]


def test_it_says_what_became_of_resume(cli, table_csv, tmp_path):
    arguments = (table_csv, tmp_path / "m", *ARGUMENTS, "--checkpoint", tmp_path / "kept", "--resume")
    assert "no checkpoint; started a new fit" in cli.fit(*arguments).output
    assert "resumed from round 30" in cli.fit(*arguments).output


def test_after_ctrl_c_it_says_how_to_go_on(cli, table_csv, tmp_path, monkeypatch):
    def press(progress):
        if progress.examples and not pressed:
            pressed.append(os.kill(os.getpid(), signal.SIGINT))

    pressed = []
    arguments = ("fit", table_csv, "--out", tmp_path / "m", *ARGUMENTS, "--tol", "none", "--max-iter", "60")
    arguments += ("--checkpoint", tmp_path / "kept")
    with parsgd.observe_progress(press):
        assert "--resume" in cli(*arguments, code=130).output
    cli(*arguments, "--resume")
    assert model_files.load(tmp_path / "m").n_iter_ == 60


def test_an_unfinished_fit_is_not_written_over(cli, table_csv, tmp_path):
    folder = tmp_path / "kept"
    cli.fit(table_csv, tmp_path / "m", *ARGUMENTS, "--checkpoint", folder, "--checkpoint-seconds", "0")
    CheckpointStore(folder).file(30).unlink()
    said = cli.fit(table_csv, tmp_path / "m", *ARGUMENTS, "--checkpoint", folder, code=1).output
    assert "a fit that has not ended" in said
    said = cli.fit(table_csv, tmp_path / "m", *ARGUMENTS, "--checkpoint", folder, "--resume", "--alpha", "1", code=1)
    assert "alpha is 1" in said.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume",), "--resume needs --checkpoint DIR"),
        (("--checkpoint-seconds", "3"), "--checkpoint-seconds needs --checkpoint DIR"),
        (("--checkpoint", "kept", "--checkpoint-seconds", "-1"), "'seconds' parameter of Checkpoint"),
        (("--scheduler", "tcp://here"), "; got --engine auto"),
        (("--scheduler", "tcp://here", "--engine", "threads"), "; got --engine threads"),
    ],
)
def test_options_that_make_no_sense_are_mistakes(arguments, said, cli, table_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in cli.fit(table_csv, tmp_path / "m", "--target", "kind", *arguments, code=2).output
    assert not (tmp_path / "kept").exists()


def test_the_address_of_a_scheduler_reaches_the_engine():
    from parsgd.cli.fitting import make_cluster_engine

    assert make_cluster_engine("dask", "tcp://here:8786").address == "tcp://here:8786"
    assert make_cluster_engine("dask", "here:8786").address == "here:8786"
    assert make_cluster_engine("dask", "/scratch/scheduler.json").scheduler_file == "/scratch/scheduler.json"


def test_the_address_of_a_ray_cluster_reaches_the_engine():
    from parsgd.cli.fitting import make_cluster_engine

    pytest.importorskip("ray", reason="needs parsgd[ray]")
    assert make_cluster_engine("ray", "10.0.0.1:6379").address == "10.0.0.1:6379"
