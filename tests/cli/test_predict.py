"""``parsgd predict`` and ``evaluate``: the model's own predictions, in every format, for rows in any guise."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file, load_digits, load_iris

import parsgd
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.read_data import read
from parsgd.model_io import model_files


@pytest.fixture
def model(cli, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m.parsgd", "--target", "kind", "--drop", "y", "--loss", "log_loss")
    return tmp_path / "m.parsgd"


def test_every_output_format_holds_the_models_predictions(cli, model, table_csv, tmp_path):
    fitted = modelfile.load(model)
    rows = fitted.rows(read(str(table_csv)))
    labels, probability = fitted.estimator.predict(rows), fitted.estimator.predict_proba(rows)
    for name in ("p.csv", "p.parquet"):
        cli("predict", model, table_csv, "--out", tmp_path / name)
        ours = pd.read_csv(tmp_path / name) if name == "p.csv" else pd.read_parquet(tmp_path / name)
        assert ours.columns.tolist() == ["prediction", "probability_large", "probability_small"]
        assert ours["prediction"].tolist() == labels.tolist()
        assert np.allclose(ours[["probability_large", "probability_small"]], probability, rtol=1e-6)
    cli("predict", model, table_csv, "--out", tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as ours:
        assert np.array_equal(ours["prediction"], labels)
        assert np.array_equal(ours["probability"], probability)
        assert ours["classes"].tolist() == ["large", "small"]
    piped = cli("predict", model, table_csv, "--out", "-")
    assert pd.read_csv(io.StringIO(piped.stdout))["prediction"].tolist() == labels.tolist()
    assert "200 predictions" in piped.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[list(t.columns[::-1])],
        lambda t: t.assign(more="x", y=0),
        lambda t: t.drop(columns=["y", "kind"]),
        lambda t: t.assign(age=t["age"].map(lambda v: "" if np.isnan(v) else f" {v}")),
        lambda t: t.assign(member=t["member"].astype(int)),
    ],
    ids=["other order", "more columns", "no target", "written otherwise", "flags as numbers"],
)
def test_the_same_rows_in_another_guise_are_predicted_alike(change, cli, model, table, table_csv, tmp_path):
    change(table).to_csv(tmp_path / "other.csv", index=False)
    cli("predict", model, table_csv, "--out", tmp_path / "a.csv")
    cli("predict", model, tmp_path / "other.csv", "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_each_row_is_predicted_by_itself(cli, model, table, tmp_path):
    """A file of one row, whose columns may look like other types, gives what the row gets among others."""
    table.to_csv(tmp_path / "all.csv", index=False)
    table.iloc[[17]].to_csv(tmp_path / "one.csv", index=False)
    cli("predict", model, tmp_path / "all.csv", "--out", tmp_path / "a.csv")
    cli("predict", model, tmp_path / "one.csv", "--out", tmp_path / "b.csv")
    one = pd.read_csv(tmp_path / "b.csv").iloc[0]
    among = pd.read_csv(tmp_path / "a.csv").iloc[17]
    assert one["prediction"] == among["prediction"]
    assert one["probability_large"] == pytest.approx(among["probability_large"], rel=1e-5)


def test_codes_are_categories_again_when_they_were_categories(cli, tmp_path):
    codes = np.tile(["01", "02", "10"], 40)
    frame = pd.DataFrame({"code": codes, "y": codes == "02"})
    frame.to_csv(tmp_path / "d.csv", index=False)
    cli.fit(tmp_path / "d.csv", tmp_path / "m", "--target", "y", "--categorical", "code")
    assert modelfile.load(tmp_path / "m").columns.kinds[0].vocabulary == ("01", "02", "10")
    assert cli.report("evaluate", tmp_path / "m", tmp_path / "d.csv")["scores"]["accuracy"] == 1.0


def test_evaluating_on_the_same_rows_gives_the_score_of_the_fit(cli, tmp_path):
    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    dump_svmlight_file(X, y, str(tmp_path / "d.svm"))
    for data in ("digits", tmp_path / "d.npz", tmp_path / "d.svm"):
        arguments = ("--out", tmp_path / "m", "--test-fraction", "0", "--loss", "log_loss", "--max-iter", "5")
        report = cli.report("fit", data, *arguments)
        assert cli.report("evaluate", tmp_path / "m", data)["scores"] == report["scores"]


def test_of_a_file_with_test_rows_those_are_evaluated_and_predicted(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "d.npz", X_train=X, y_train=y, X_test=X[:7], y_test=y[:7])
    report = cli.report("fit", tmp_path / "d.npz", "--out", tmp_path / "m")
    ours = cli.report("evaluate", tmp_path / "m", tmp_path / "d.npz")
    assert ours["rows"] == 7
    assert ours["scores"] == report["scores"]
    assert "7 predictions" in cli("predict", tmp_path / "m", tmp_path / "d.npz", "--out", tmp_path / "p.csv").stdout


def test_evaluation_says_its_scores_in_words(cli, model, table_csv):
    said = cli("evaluate", model, table_csv).stdout
    assert "accuracy" in said
    assert "log-loss" in said
    assert "200 rows" in said


def test_classes_never_seen_count_as_wrong_and_are_told(cli, model, table, tmp_path):
    table["kind"] = np.where(np.arange(200) < 50, "huge", table["kind"])
    table.to_csv(tmp_path / "d.csv", index=False)
    scores = cli.report("evaluate", model, tmp_path / "d.csv")["scores"]
    assert scores["rows_of_unknown_class"] == 50
    assert scores["accuracy"] <= 0.75
    assert np.isfinite(scores["log_loss"])


def test_a_score_that_does_not_exist_is_null(cli, table, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m", "--target", "y", "--model", "sgd-regressor")
    table.iloc[[3]].to_csv(tmp_path / "one.csv", index=False)
    assert cli.report("evaluate", tmp_path / "m", tmp_path / "one.csv")["scores"]["r2"] is None


def test_another_column_may_hold_the_true_values(cli, model, table, tmp_path):
    table.rename(columns={"kind": "truth"}).to_csv(tmp_path / "d.csv", index=False)
    assert "no column 'kind'" in cli("evaluate", model, tmp_path / "d.csv", code=1).stderr
    assert cli.report("evaluate", model, tmp_path / "d.csv", "--target", "truth")["rows"] == 200


def test_classes_that_look_like_numbers_stay_texts(cli, tmp_path):
    frame = pd.DataFrame({"a": np.arange(60.0), "c": np.repeat(["1", "2"], 30)})
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_csv(tmp_path / "d.csv", index=False)
    cli.fit(tmp_path / "d.parquet", tmp_path / "m", "--target", "c")
    ours, theirs = (cli.report("evaluate", tmp_path / "m", tmp_path / d)["scores"] for d in ("d.csv", "d.parquet"))
    assert ours == theirs
    numbers = frame.assign(c=frame["c"].astype(int))
    numbers.to_parquet(tmp_path / "n.parquet")
    assert cli.report("evaluate", tmp_path / "m", tmp_path / "n.parquet")["scores"] == ours


# -- models from Python ----------------------------------------------------------------------------------------------


def test_a_model_saved_from_python_predicts_by_name_or_by_position(cli, tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    parameters = {"max_iter": 3, "tol": None, "random_state": 0}
    named = parsgd.SGDClassifier(**parameters).fit(X, y)
    nameless = parsgd.SGDClassifier(**parameters).fit(X.to_numpy(), y)
    model_files.save(named, tmp_path / "named")
    model_files.save(nameless, tmp_path / "nameless")
    X[X.columns[::-1]].assign(target=y).to_csv(tmp_path / "named.csv", index=False)
    np.savez(tmp_path / "d.npz", X=X.to_numpy(), y=y)
    dump_svmlight_file(X.to_numpy(), y, str(tmp_path / "d.svm"), zero_based=False)
    expected = named.score(X, y)
    cases = (("named", "named.csv", ("--target", "target")), ("nameless", "d.npz", ()), ("nameless", "d.svm", ()))
    for model, data, more in cases:
        report = cli.report("evaluate", tmp_path / model, tmp_path / data, *more)
        assert report["scores"]["accuracy"] == pytest.approx(expected, abs=0.02)
    X.iloc[:3, 0] = np.nan
    X.to_csv(tmp_path / "gaps.csv", index=False)
    said = cli("predict", tmp_path / "named", tmp_path / "gaps.csv", "--out", "-", code=1).stderr
    assert "row 1: column 'sepal length (cm)' is missing" in said


# -- refusals --------------------------------------------------------------------------------------------------------


def test_mistakes_are_told_and_leave_nothing(cli, model, table, table_csv, tmp_path):
    table.drop(columns=["age", "city"]).to_csv(tmp_path / "less.csv", index=False)
    table.assign(age="old").to_csv(tmp_path / "odd.csv", index=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    out = ("--out", tmp_path / "p.csv")
    assert "has no columns age, city" in cli("predict", model, tmp_path / "less.csv", *out, code=1).stderr
    said = cli("predict", model, tmp_path / "odd.csv", *out, code=1).stderr
    assert "row 1: column 'age' should hold numbers, and has 'old'" in said
    assert ".parquet" in cli("predict", model, table_csv, "--out", "p.xlsx", code=2).stderr
    assert "No such file" in cli("predict", tmp_path / "none", table_csv, *out, code=1).stderr
    assert "not a model file" in cli("predict", table_csv, table_csv, *out, code=1).stderr
    assert "not a model file" in cli("evaluate", table_csv, table_csv, code=1).stderr
    assert "mkdir" in cli("predict", model, table_csv, "--out", tmp_path / "nowhere" / "p.csv", code=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_failed_write_leaves_the_old_predictions(suffix, cli, model, table_csv, tmp_path, monkeypatch):
    out = tmp_path / f"p{suffix}"
    cli("predict", model, table_csv, "--out", out)
    before, listed = out.read_bytes(), sorted(tmp_path.iterdir())

    def fail(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parsgd.model_io.model_files.os.fsync", fail)
    assert "No space left" in cli("predict", model, table_csv, "--out", out, code=1).stderr
    assert out.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == listed


def former_notes():
    """An encoding as version 0.1 kept it in notes, of three columns of numbers and one of three categories."""
    numbers = {
        "names": ["age", "rooms", "member"],
        "dates": [],
        "fill": np.ones(3),
        "mean": np.ones(3),
        "scale": np.ones(3),
    }
    city = {"name": "city", "categories": ["Bath", "Köln", "Lyon"], "other": False, "missing": False}
    return {
        "kind": "TableEncoding",
        "numbers": numbers,
        "categories": [city],
        "words": [],
        "wide": False,
        "single": True,
    }


def test_a_model_of_version_0_1_predicts(cli, table_csv, tmp_path):
    model = parsgd.SGDClassifier(random_state=0).fit(np.eye(6), ["large", "small"] * 3)
    model_files.save(model, tmp_path / "m", encoding=former_notes(), target="kind")
    assert "200 predictions" in cli("predict", tmp_path / "m", table_csv, "--out", tmp_path / "p.csv").stdout
    assert cli.report("evaluate", tmp_path / "m", table_csv)["rows"] == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.pop("kind"),
        lambda e: e.update(kind="Popen"),
        lambda e: e.update(more=1),
        lambda e: e["numbers"].update(scale=np.zeros(3)),
        lambda e: e["numbers"].update(fill=np.zeros(2)),
        lambda e: e["numbers"].update(names=[1, 2, 3]),
        lambda e: e["categories"][0].update(categories=["a", "a"]),
        lambda e: e["categories"][0].update(categories=3),
        lambda e: e["categories"].clear(),
        lambda e: e.update(words=[{"name": "x", "width": 10**12}]),
        lambda e: e.update(numbers=None),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused(spoil, cli, table_csv, tmp_path):
    model, encoding = parsgd.SGDClassifier(random_state=0).fit(np.eye(6), ["large", "small"] * 3), former_notes()
    spoil(encoding)
    model_files.save(model, tmp_path / "m", encoding=encoding, target="kind")
    assert "Fit the model again" in cli("predict", tmp_path / "m", table_csv, "--out", "-", code=1).stderr


def test_the_report_of_an_evaluation_is_json_and_nothing_else(cli, model, table_csv):
    report = json.loads(cli("evaluate", model, table_csv, "--json").stdout)
    assert set(report) == {"model", "data", "rows", "scores"}


def test_names_are_those_of_files_without_a_header(cli, table, tmp_path):
    numbers = table[["age", "rooms", "y"]].fillna(0)
    numbers.to_csv(tmp_path / "named.csv", index=False)
    numbers.to_csv(tmp_path / "bare.csv", index=False, header=False)
    settings = ("--target", "y", "--model", "sgd-regressor")
    cli.fit(tmp_path / "named.csv", tmp_path / "a", *settings)
    named = ("--names", "age,rooms,y")
    cli.fit(tmp_path / "bare.csv", tmp_path / "b", *settings, *named)
    ours, theirs = modelfile.load(tmp_path / "a"), modelfile.load(tmp_path / "b")
    assert np.array_equal(ours.estimator.coef_, theirs.estimator.coef_)
    theirs = cli.report("evaluate", tmp_path / "a", tmp_path / "bare.csv", *named)["scores"]
    assert cli.report("evaluate", tmp_path / "a", tmp_path / "named.csv")["scores"] == theirs
    cli("predict", tmp_path / "a", tmp_path / "bare.csv", *named, "--out", tmp_path / "p.csv")
    said = cli("info", tmp_path / "bare.csv", "--names", "age,age", code=2).stderr
    assert "names age,age: give each column a different name" in said
    assert "--names are for CSV without a header" in cli("info", "iris", "--names", "a,b", code=2).stderr
    said = cli("fit", "iris", "--out", tmp_path / "c", *named, "--header", code=2).stderr
    assert "remove --names or --header" in said
