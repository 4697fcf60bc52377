"""The command on data that are read while they are used."""

import numpy as np
import pandas as pd
import pytest

import parsgd
from parsgd.cli.tables import read_data
from parsgd.data.columns import column_stats
from parsgd.data.formats import row_groups
from parsgd.model_io import model_files


@pytest.fixture
def folder(table, tmp_path):
    """The table in four Parquet files, of which one has no gaps."""
    path = tmp_path / "parts"
    path.mkdir()
    big = pd.concat([table] * 4, ignore_index=True)
    for i in range(4):
        big[i * 200 : (i + 1) * 200].to_parquet(path / f"part-{i}.parquet", row_group_size=50)
    return path


FIT = ("--target", "kind", "--drop", "y", "--max-iter", "20", "--workers", "2")


@pytest.mark.parametrize("model", ["sgd-classifier", "mlp-classifier"])
def test_a_folder_is_streamed_and_scored(cli, folder, out, model):
    report = cli.report("fit", folder, "--out", out, "--model", model, *FIT)
    assert report["rows"]["training"] + report["rows"]["test"] == 800
    assert 100 < report["rows"]["test"] < 220
    assert report["scores"]["accuracy"] > 0.8
    evaluated = cli.report("evaluate", out, folder)
    assert evaluated["rows"] == 800
    assert evaluated["scores"]["accuracy"] > 0.8


def test_it_says_why_and_from_what_it_learned(cli, folder, out):
    said = cli("fit", folder, "--out", out, *FIT).output
    assert "800 rows, streamed (a folder)" in said
    assert "age: " in said


def test_a_model_of_streamed_data_predicts_files_and_folders_alike(cli, folder, out, table, tmp_path):
    cli("fit", folder, "--out", out, *FIT)
    table.to_parquet(tmp_path / "one.parquet")
    cli("predict", out, tmp_path / "one.parquet", "--out", tmp_path / "one.csv")
    cli("predict", out, tmp_path / "one.parquet", "--stream", "--out", tmp_path / "streamed.csv")
    cli("predict", out, folder, "--out", tmp_path / "all.csv")
    one, again, everything = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("one", "streamed", "all"))
    assert one["prediction"].tolist() == again["prediction"].tolist() == everything["prediction"][:200].tolist()
    assert len(everything) == 800


def test_a_large_file_is_streamed_and_a_small_one_is_not(cli, table_csv, out, monkeypatch):
    assert ", streamed (" not in cli("fit", table_csv, "--out", out, *FIT).output
    monkeypatch.setattr(read_data, "LARGE_BYTES", 1000)
    assert "streamed (0.0 GB)" in cli("fit", table_csv, "--out", out, *FIT).output
    assert ", streamed (" not in cli("fit", table_csv, "--no-stream", "--out", out, *FIT).output


def test_several_files_are_one_set(cli, folder, out):
    files = sorted(folder.iterdir())[:3]
    report = cli.report("fit", *files, "--out", out, *FIT, "--test-fraction", "0")
    assert report["rows"] == {"training": 600, "test": 0}
    assert report["scored_on"] == "training"


def test_regression_and_outliers(cli, folder, out):
    fit = ("fit", folder, "--out", out, "--workers", "1", "--model")
    report = cli.report(*fit, "sgd-regressor", "--target", "y", "--drop", "kind", "--max-iter", "50")
    assert report["scores"]["r2"] > 0.8
    report = cli.report(*fit, "sgd-one-class-svm")
    assert 0 < report["scores"]["inliers"] <= 1


def test_svmlight(cli, tmp_path, out):
    rng = np.random.default_rng(0)
    lines = [f"{i % 2} 1:{i % 2 + rng.normal() / 9:.3f} 3:{rng.normal():.3f}" for i in range(300)]
    (tmp_path / "data.svm").write_text("\n".join(lines))
    report = cli.report("fit", tmp_path / "data.svm", "--stream", "--out", out, "--workers", "1")
    assert report["features"] == 3
    assert cli.report("evaluate", out, tmp_path / "data.svm")["scores"] == pytest.approx(
        cli.report("evaluate", out, tmp_path / "data.svm", "--stream")["scores"]
    )


def test_a_model_from_python_knows_its_columns(cli, folder, out, tmp_path):
    columns = [parsgd.columns.Numeric(["age"], missing="mean", scale="standard"), parsgd.columns.OneHot("city")]
    data = parsgd.open_dataset(folder, target="kind", columns=columns)
    model = parsgd.SGDClassifier(random_state=0).fit(data)
    model_files.save(model, out, target="kind")
    assert cli.report("evaluate", out, folder)["scores"]["accuracy"] == pytest.approx(model.score(data))
    cli("predict", out, sorted(folder.iterdir())[0], "--out", tmp_path / "p.csv")
    assert pd.read_csv(tmp_path / "p.csv")["prediction"].tolist() == model.predict(data)[:200].tolist()


WRONG = [
    (("fit", "FOLDER"), 1, "no target; add --target COLUMN"),
    (("fit", "FOLDER", "--target", "kin"), 1, "Did you mean 'kind'"),
    (("fit", "FOLDER", "--target", "kind", "--drop", "cty"), 1, "has no column 'cty'. Did you mean 'city'"),
    (("fit", "iris", "--stream"), 2, "cannot be streamed"),
    (("fit", "FILE", "FILE", "--no-stream", "--target", "kind"), 2, "several files are always streamed"),
]


@pytest.mark.parametrize(("command", "code", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_mistakes_are_explained(cli, folder, out, command, code, said):
    places = {"FOLDER": folder, "FILE": folder / "part-0.parquet"}
    result = cli(*(places.get(word, word) for word in command), "--out", out, code=code)
    assert said in result.output.replace("\n", " ")
    assert not out.exists()


def test_a_bad_number_is_named_by_file_and_row(cli, folder, out, table, monkeypatch):
    # behind the rows that columns are learned from
    monkeypatch.setattr(column_stats, "_SAMPLE_ROWS", 10)
    monkeypatch.setattr(row_groups, "_MOST_ROWS", 50)
    monkeypatch.setattr(row_groups, "_FEWEST_ROWS", 50)
    table.assign(age=np.where(np.arange(200) == 120, np.inf, 1.0)).to_parquet(folder / "part-9.parquet")
    said = cli("fit", folder, "--out", out, *FIT, code=1).output.replace("\n", " ")
    assert "part-9.parquet, row group 0 (row 121)" in said
    assert "column 'age' is inf, not a finite number" in said
