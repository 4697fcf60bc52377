"""Files as people have them, through the command: the same model and predictions in memory and streamed."""

import numpy as np
import pandas as pd
import pytest

from parsgd.model_io import model_files

FIT = ("--target", "label", "--test-fraction", "0", "--workers", "1", "--max-iter", "20", "--tol", "none")


@pytest.fixture
def frame():
    """400 rows whose label follows from numbers and categories."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=400).round(4), "kind": rng.choice(["a", "b", "c"], 400)})
    frame["label"] = np.where(frame["size"] + 2 * (frame["kind"] == "b") > 0.7, "yes", "no")
    return frame


def written(frame, path, how):
    """The table in one of the ways in which CSV is written."""
    plain = frame.to_csv(index=how == "with an index")
    if how == "spaces after commas":
        plain = plain.replace(",", ", ")
    if how == "quoted":
        plain = "\n".join(",".join(f'"{value}"' for value in line.split(",")) for line in plain.splitlines()) + "\n"
    if how == "blank lines before":
        plain = "\n \n" + plain
    if how == "semicolons and decimal commas":
        plain = frame.to_csv(index=False, sep=";", decimal=",")
    path.write_text(plain.replace("\n", {"CR": "\r", "CRLF": "\r\n"}.get(how, "\n")), newline="")
    return path


WAYS = ["plain", "with an index", "spaces after commas", "quoted", "blank lines before", "CR", "CRLF"]


@pytest.mark.parametrize("how", WAYS)
def test_however_a_table_is_written_the_model_is_the_same(how, cli, frame, out, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    cli("fit", tmp_path / "plain.csv", "--out", out, *FIT)
    expected = model_files.load(out)
    path = written(frame, tmp_path / "d.csv", how)
    for stream in ("--no-stream", "--stream"):
        report = cli.report("fit", path, "--out", out, *FIT, stream)
        model = model_files.load(out)
        assert model.columns_ == expected.columns_
        assert report["scores"]["accuracy"] > 0.9
        if stream == "--no-stream":
            assert np.array_equal(model.coef_, expected.coef_)
        assert cli.report("evaluate", out, path)["scores"] == cli.report("evaluate", out, path, "--stream")["scores"]


def test_a_stray_quote_loses_no_rows(cli, frame, out, tmp_path):
    frame.loc[100, "kind"] = '3" pipe'
    lines = [",".join(map(str, row)) for row in [frame.columns, *frame.itertuples(index=False)]]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    for stream in ("--stream", "--no-stream"):
        assert cli.report("fit", tmp_path / "d.csv", "--out", out, *FIT, stream)["rows"]["training"] == 400


def test_decimal_commas_are_read_as_asked_or_remarked(cli, frame, out, tmp_path):
    path = written(frame, tmp_path / "d.csv", "semicolons and decimal commas")
    assert cli.report("fit", path, "--out", out, *FIT, "--decimal", ",")["scores"]["accuracy"] > 0.9
    assert cli.report("evaluate", out, path, "--decimal", ",")["scores"]["accuracy"] > 0.9
    said = " ".join(cli("fit", path, "--out", out, *FIT).stdout.split())
    assert "size: encoded as categories, but looks like numbers with a decimal comma" in said
    refused = cli("fit", path, "--out", out, *FIT, "--decimal", "x", code=2)
    assert "--decimal must be . or a comma; got x." in refused.stderr


def test_a_file_without_a_header_is_refused_or_read_as_asked(cli, frame, out, tmp_path):
    path = tmp_path / "d.csv"
    frame.to_csv(path, index=False, header=False)
    fit = ("fit", path, "--out", out, "--target", "f2", *FIT[2:])
    for stream in ("--stream", "--no-stream"):
        assert "--no-header" in cli(*fit, stream, code=1).stderr
        assert cli.report(*fit, stream, "--no-header")["rows"]["training"] == 400
    assert cli.report("evaluate", out, path, "--no-header")["scores"]["accuracy"] > 0.9
    cli("predict", out, path, "--no-header", "--out", tmp_path / "p.csv")
    assert len(pd.read_csv(tmp_path / "p.csv")) == 400
    assert "--no-header" in cli("predict", out, path, "--out", tmp_path / "p.csv", code=1).stderr
    assert cli.report("info", path, "--no-header")["rows"] == 400


@pytest.mark.parametrize("labels", [["0", "1"], ["01", "02"], ["NA", "None"], [True, False], [3.0, 4.0], ["a b", "c"]])
def test_labels_and_categories_are_the_same_in_every_format(labels, cli, out, tmp_path):
    frame = pd.DataFrame({"c": ["x", "y"] * 50, "f": [3.0, 4.0] * 50, "label": labels * 50})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    for trained in ("d.csv", "d.parquet"):
        cli("fit", tmp_path / trained, "--out", out, *FIT, "--categorical", "f")
        for other in ("d.csv", "d.parquet"):
            for stream in ("--stream", "--no-stream"):
                assert cli.report("evaluate", out, tmp_path / other, stream)["scores"]["accuracy"] == 1.0


def test_the_number_of_the_first_feature_belongs_to_the_model(cli, out, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).round(3)
    for first in (0, 1):
        lines = [f"{int(row[0] > 0)} " + " ".join(f"{i + first}:{v}" for i, v in enumerate(row)) for row in x]
        (tmp_path / f"from{first}.svm").write_text("\n".join(lines) + "\n")
    cli("fit", tmp_path / "from1.svm", "--out", out, *FIT[2:])
    assert cli.report("evaluate", out, tmp_path / "from1.svm")["scores"]["accuracy"] > 0.95
    for stream in ("--stream", "--no-stream"):
        predict = ("predict", out, tmp_path / "from0.svm", "--out", tmp_path / "p.csv", stream)
        assert "a feature with the number 0, and the model counts" in cli(*predict, code=1).stderr
        cli(*predict, "--zero-based")
    assert cli.report("evaluate", out, tmp_path / "from0.svm", "--zero-based")["scores"]["accuracy"] > 0.95


def test_a_folder_is_read_without_what_is_no_data(cli, frame, out, tmp_path, monkeypatch):
    (tmp_path / "data" / ".ipynb_checkpoints").mkdir(parents=True)
    frame.to_csv(tmp_path / "data" / "a.csv", index=False)
    frame.to_csv(tmp_path / "data" / ".ipynb_checkpoints" / "a-checkpoint.csv", index=False)
    for name in ("_SUCCESS", ".DS_Store", "README.md"):
        (tmp_path / "data" / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    for path in ("data", "./data"):
        assert cli.report("fit", path, "--out", out, *FIT)["rows"]["training"] == 400


def test_the_index_of_pandas_is_no_feature_and_said_so(cli, frame, out, tmp_path):
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "d.parquet")
    for stream in ("--stream", "--no-stream"):
        said = cli("fit", tmp_path / "d.parquet", "--out", out, *FIT, stream).stdout
        assert "index or unnamed, left out: __index_level_0__" in said
        assert model_files.load(out).columns_.columns == ("size", "kind")


def test_rows_without_a_target_are_left_out_in_memory_and_streamed(cli, frame, out, tmp_path):
    frame.loc[:9, "label"] = None
    frame.to_csv(tmp_path / "d.csv", index=False)
    for stream in ("--stream", "--no-stream"):
        result = cli("fit", tmp_path / "d.csv", "--out", out, *FIT, stream)
        assert "10 of 400 rows left out, because they have no target" in result.stdout
        assert "390 rows" in result.stdout
        assert cli.report("evaluate", out, tmp_path / "d.csv", stream)["rows"] == 390


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_mistakes_in_files_are_named_alike_in_memory_and_streamed(stream, cli, frame, out, tmp_path):
    path = tmp_path / "d.csv"
    text = frame.to_csv(index=False)
    path.write_text(text + "1,b\n")
    assert "row 401: expected 3 columns, got 2" in cli("fit", path, "--out", out, *FIT, stream, code=1).stderr
    path.write_text(text)
    cli("fit", path, "--out", out, *FIT, stream)
    path.write_text(text + "large,b,yes\n")
    said = cli("predict", out, path, "--out", tmp_path / "p.csv", stream, code=1).stderr
    assert "row 401: column 'size' should hold numbers, and has 'large'" in said
    assert not (tmp_path / "p.csv").exists()
