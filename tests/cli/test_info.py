"""``parsgd info``: what it says of a machine, a model, checkpoints and data is so."""

import shlex

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file, load_iris

import parsgd
from parsgd.checkpointing.store import CheckpointStore
from parsgd.cli.inspect import inspect_data, inspect_machine
from parsgd.cli.tables import read_data
from parsgd.model_io import model_files

KEPT = ("--target", "kind", "--drop", "y", "--workers", "2", "--algorithm", "local", "--tol", "none")


# -- the machine -----------------------------------------------------------------------------------------------------


def test_of_the_machine_it_says_what_is_installed(cli):
    report = cli.report("info")
    assert report["kind"] == "machine"
    assert report["version"] == parsgd.__version__
    assert report["packages"]["numpy"] == np.__version__
    assert report["cores"] >= 1
    assert report["blas"]
    said = cli("info").stdout
    assert f"parsgd {parsgd.__version__}" in said
    assert report["kernels"]["folder"] in said


def test_an_extra_that_is_missing_is_told_with_what_to_type(cli, monkeypatch):
    lists = ["numpy>=2.0", 'dask>=2025.1; extra == "dask"', 'ruff>=0.9; extra == "dev"', 'typer>=0.15; extra == "cli"']
    monkeypatch.setattr(inspect_machine.importlib.metadata, "requires", lambda name: lists)
    monkeypatch.setattr(inspect_machine, "find_version", lambda name: None if name == "dask" else "1.0")
    found = inspect_machine.find_extras()
    assert set(found) == {"dask", "cli"}
    assert (found["dask"]["complete"], found["cli"]["complete"]) == (False, True)
    assert "missing dask: pip install 'parsgd[dask]'" in cli("info").stdout


def test_kernels_of_other_sources_count_as_outdated(cli, tmp_path):
    parsgd.SGDClassifier(max_iter=2, tol=None, n_jobs=1).fit(*load_iris(return_X_y=True))
    assert cli.report("info")["kernels"]["ready"] > 0
    damaged = tmp_path / "a.nbi"
    damaged.write_bytes(b"no index")
    assert inspect_machine._count_kernels_of(damaged, "") == (0, 1)


# -- a model ---------------------------------------------------------------------------------------------------------


def test_of_a_model_it_says_what_fit_said(cli, table_csv, tmp_path):
    model = tmp_path / "m.parsgd"
    fitted = cli.report("fit", table_csv, "--target", "kind", "--drop", "y", "--out", model, "--alpha", "0.01")
    report = cli.report("info", model)
    assert (report["kind"], report["estimator"], report["target"]) == ("model", "SGDClassifier", "kind")
    assert report["classes"] == ["large", "small"]
    assert report["features"] == fitted["features"]
    assert report["columns"] == {"number": ["age", "rooms", "member"], "date": ["since"], "category": ["city"]}
    assert report["parameters"]["alpha"] == "0.01"
    assert report["bytes"] == model.stat().st_size
    assert report["run"]["scores"] == fitted["scores"]
    assert report["epochs"] == fitted["epochs"]
    said = cli("info", model).stdout
    assert "SGDClassifier" in said
    assert f"parsgd fit {table_csv}" in said


def test_models_from_python_and_networks_are_told_of(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    network = parsgd.MLPClassifier((4,), random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    model_files.save(network, tmp_path / "network")
    model_files.save(parsgd.SGDOneClassSVM(max_iter=2, tol=None).fit(X), tmp_path / "one")
    report = cli.report("info", tmp_path / "network")
    assert report["numbers"] == 4 * 4 + 4 + 4 * 3 + 3
    assert (report["run"], report["columns"]) == (None, None)
    assert cli.report("info", tmp_path / "one")["task"] == "outliers"
    assert "MLPClassifier" in cli("info", tmp_path / "network").stdout


def test_what_is_no_model_is_refused(cli, tmp_path):
    (tmp_path / "m").write_text("no model")
    assert "not a model file" in cli("info", tmp_path / "m", code=1).stderr
    assert "the file does not exist" in cli("info", tmp_path / "none.parsgd", code=1).stderr


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_the_command_that_it_tells_goes_on_with_the_fit(cli, table_csv, tmp_path):
    """What is typed as told gives the model of a fit that was never ended."""
    kept = tmp_path / "kept"
    more = ("--alpha", "0.01", "--set", "l1_ratio=0.3", "--penalty", "elasticnet", "--max-iter")
    cli("fit", table_csv, *KEPT, *more, "3", "--out", tmp_path / "a", "--checkpoint", kept)
    report = cli.report("info", kept)
    assert (report["kind"], report["epochs"], report["workers"]) == ("checkpoints", 3, 2)
    assert report["resumable"]
    assert report["outcome"] == "MAX_EPOCHS"
    assert report["held_by"] is None
    assert [one["round"] for one in report["rounds"]] == CheckpointStore(kept).rounds()
    typed = shlex.split(report["command"].replace("DATA", str(table_csv)).replace("MODEL", str(tmp_path / "a")))
    rest = ("--target", "kind", "--drop", "y", "--max-iter", "5")
    assert cli.report(*typed[1:], *rest)["resumed_from"] is not None
    cli("fit", table_csv, *KEPT, *more, "5", "--out", tmp_path / "b")
    assert np.array_equal(model_files.load(tmp_path / "a").coef_, model_files.load(tmp_path / "b").coef_)
    assert "--resume" in cli("info", kept).stdout


def test_a_fit_that_is_done_is_not_said_to_go_on(cli, table_csv, tmp_path):
    """One average, once made, is the end; and so is a fit that converged."""
    shot = ("--algorithm", "simuparallel", "--max-iter", "2", "--tol", "none")
    done = ("--algorithm", "local", "--max-iter", "500", "--tol", "10")
    for name, how in (("shot", shot), ("done", done)):
        kept = tmp_path / name
        cli("fit", table_csv, *KEPT[:6], *how, "--out", tmp_path / "m", "--checkpoint", kept)
        report = cli.report("info", kept)
        assert (report["ended"], report["resumable"], report["command"]) == (True, False, None)
        assert "training is complete" in cli("info", kept).stdout


@pytest.mark.slow
def test_networks_and_regressors_are_known_by_their_parameters(cli, table_csv, tmp_path):
    for model, options in (("sgd-regressor", ()), ("mlp-regressor", ("--hidden", "4,3"))):
        kept = tmp_path / model
        arguments = ("--model", model, *options, "--target", "y", "--workers", "2", "--max-iter", "1")
        arguments += ("--algorithm", "local")
        cli("fit", table_csv, "--out", tmp_path / "m", *arguments, "--checkpoint", kept)
        command = cli.report("info", kept)["command"]
        assert f"--model {model}" in command
        assert not options or "--hidden 4,3" in command


def test_damaged_checkpoints_are_told(cli, table_csv, tmp_path):
    kept = tmp_path / "kept"
    cli.fit(table_csv, tmp_path / "m", *KEPT, "--checkpoint", kept)
    folder = CheckpointStore(kept)
    last = folder.file(folder.rounds()[-1])
    last.write_bytes(last.read_bytes()[:-9])
    report = cli.report("info", kept)
    assert [one["problem"] is None for one in report["rounds"]] == [True, False]
    assert report["epochs"] == 0
    for number in folder.rounds():
        folder.file(number).write_bytes(b"nothing")
    report = cli.report("info", kept)
    assert (report["resumable"], report["command"]) == (False, None)
    assert "start a new fit" in cli("info", kept).stdout


# -- data ------------------------------------------------------------------------------------------------------------


def test_of_a_table_it_says_kinds_gaps_and_targets(cli, table, table_csv):
    report = cli.report("info", table_csv)
    assert (report["rows"], report["columns"], report["layout"]) == (200, 7, "table")
    kinds = {column["name"]: column["kind"] for column in report["kinds"]}
    assert kinds == {
        "age": "number",
        "rooms": "number",
        "city": "category",
        "member": "number",
        "since": "date",
        "y": "number",
        "kind": "category",
    }
    assert report["missing"] == table.isna().sum().sum()
    first = report["candidates"][0]
    # a column that is called y is the likeliest
    assert (first["column"], first["model"]) == ("y", "sgd-regressor")
    assert {"column": "kind", "model": "sgd-classifier", "why": "2 classes"} in report["candidates"]
    assert "--target kind" in cli("info", table_csv).stdout


def test_matrices_sparse_rows_and_built_in_data(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    X[0, 0] = np.nan
    np.savez(tmp_path / "d.npz", X=X, y=y)
    dump_svmlight_file(np.nan_to_num(X), y, str(tmp_path / "d.svm"))
    dense, sparse, built_in = (cli.report("info", name) for name in (tmp_path / "d.npz", tmp_path / "d.svm", "iris"))
    assert (dense["layout"], dense["missing"], dense["rows"]) == ("dense", 1, 150)
    assert sparse["layout"] == "sparse"
    assert dense["target"]["different"] == built_in["target"]["different"] == 3
    assert built_in["candidates"] == []


def test_large_data_and_folders_are_sampled(cli, table, table_csv, tmp_path, monkeypatch):
    whole = cli.report("info", table_csv)
    monkeypatch.setattr(read_data, "LARGE_BYTES", 10)
    monkeypatch.setattr(inspect_data, "_MAX_ROWS", 50)
    (tmp_path / "folder").mkdir()
    table.to_csv(tmp_path / "folder" / "a.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    dump_svmlight_file(np.eye(60), np.arange(60) % 2, str(tmp_path / "t.svm"))
    for name in (table_csv, tmp_path / "folder", tmp_path / "t.parquet"):
        report = cli.report("info", name)
        assert (report["rows"], report["seen_rows"]) == (200, 50)
        assert [c["kind"] for c in report["kinds"]] == [c["kind"] for c in whole["kinds"]]
        assert "a sample of 50" in cli("info", name).stdout
    report = cli.report("info", tmp_path / "t.svm")
    assert (report["rows"], report["seen_rows"]) == (60, 50)


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, {}]])
def test_columns_that_cannot_be_learned_from_are_shown_all_the_same(values, cli, tmp_path):
    pd.DataFrame({"odd": values, "x": [1, 2]}).to_parquet(tmp_path / "d.parquet")
    assert cli.report("info", tmp_path / "d.parquet")["kinds"][0]["kind"] == "other"
