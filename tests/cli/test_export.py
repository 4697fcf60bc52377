"""``parsgd export``: the graph predicts what ``parsgd predict`` does, for the same columns of numbers."""

import json
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

import parsgd
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.read_data import read

NUMBERS = ("age", "rooms", "member")


@pytest.fixture
def runtime():
    pytest.importorskip("onnx", reason="requires parsgd[onnx]")
    ort = pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")

    def run(path, X):
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        notes = session.get_modelmeta().custom_metadata_map
        return dict(zip(outputs, session.run(outputs, {"X": X}), strict=True)), notes

    return run


def test_a_model_of_numbers_is_exported_with_its_encoding(runtime, cli, table, table_csv, tmp_path):
    table["member"] = table["member"].astype(int)
    table.drop(columns=["city", "y"]).to_csv(table_csv, index=False)
    cli.fit(table_csv, tmp_path / "m.parsgd", "--target", "kind", "--loss", "log_loss")
    said = cli("export", tmp_path / "m.parsgd", "--onnx", tmp_path / "m.onnx").output
    assert "X (rows, 4) to label and probabilities" in said
    assert "age, rooms, member, since" in said
    assert "days since 1970: since" in said
    days = (table["since"].to_numpy().astype("datetime64[D]")).astype(float)
    X = np.column_stack([*(table[name].to_numpy(dtype=float) for name in NUMBERS), days])
    assert np.isnan(X).any()
    theirs, notes = runtime(tmp_path / "m.onnx", X)
    fitted = modelfile.load(tmp_path / "m.parsgd")
    rows = fitted.rows(read(str(table_csv)))
    assert theirs["label"].tolist() == fitted.estimator.predict(rows).tolist()
    np.testing.assert_allclose(theirs["probabilities"], fitted.estimator.predict_proba(rows), rtol=1e-4, atol=1e-5)
    assert json.loads(notes["parsgd.feature_names_in"]) == [*NUMBERS, "since"]


def test_text_is_refused_unless_rows_come_encoded(runtime, cli, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m.parsgd", "--target", "y", "--drop", "kind", "--model", "sgd-regressor")
    out = ("--onnx", tmp_path / "m.onnx")
    said = cli("export", tmp_path / "m.parsgd", *out, code=2).output
    assert "cannot encode the text column city" in said
    assert "--encoded" in said
    assert not (tmp_path / "m.onnx").exists()
    assert "city=Lyon" in cli("export", tmp_path / "m.parsgd", *out, "--encoded").output
    fitted = modelfile.load(tmp_path / "m.parsgd")
    rows = fitted.rows(read(str(table_csv)))
    theirs, _ = runtime(tmp_path / "m.onnx", rows)
    np.testing.assert_allclose(theirs["variable"], fitted.estimator.predict(rows), rtol=1e-4, atol=1e-4)


def test_matrices_sparse_rows_and_models_from_python(runtime, cli, tmp_path):
    cli.fit("digits", tmp_path / "m.parsgd", "--hidden", "8")
    cli("export", tmp_path / "m.parsgd", "--onnx", tmp_path / "m.onnx", "--dtype", "float32", "--opset", "13")
    fitted, data = modelfile.load(tmp_path / "m.parsgd"), read("digits")
    theirs, _ = runtime(tmp_path / "m.onnx", load_digits().data.astype(np.float32))
    assert np.mean(theirs["label"] == fitted.estimator.predict(fitted.rows(data))) > 0.999
    X, y = load_iris(return_X_y=True)
    parsgd.save(parsgd.SGDClassifier(max_iter=2, tol=None, random_state=0).fit(X, y), tmp_path / "python.parsgd")
    cli("export", tmp_path / "python.parsgd", "--onnx", tmp_path / "python.onnx")
    theirs, _ = runtime(tmp_path / "python.onnx", X)
    assert theirs["label"].tolist() == parsgd.load(tmp_path / "python.parsgd").predict(X).tolist()


def test_mistakes_are_told(runtime, cli, tmp_path):
    cli.fit("iris", tmp_path / "m.parsgd")
    out = ("--onnx", tmp_path / "m.onnx")
    assert "mkdir" in cli("export", tmp_path / "m.parsgd", "--onnx", tmp_path / "no" / "m.onnx", code=2).output
    assert "opset" in cli("export", tmp_path / "m.parsgd", *out, "--opset", "3", code=2).output
    assert "dtype" in cli("export", tmp_path / "m.parsgd", *out, "--dtype", "float16", code=2).output
    assert "cannot be read" in cli("export", tmp_path / "none.parsgd", *out, code=1).output
    assert "Missing option" in cli("export", tmp_path / "m.parsgd", code=2).output
    assert [path.name for path in tmp_path.iterdir()] == ["m.parsgd"]


def test_without_onnx_the_command_says_how_to_install_it(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = cli("export", tmp_path / "m.parsgd", "--onnx", tmp_path / "m.onnx", code=1).output
    assert "pip install 'parsgd[onnx]'" in said
