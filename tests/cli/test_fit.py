"""``parsgd fit``: it fits what the library fits, says what it did, and refuses what it cannot do before it starts."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file, load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.metrics import log_loss, root_mean_squared_error

import parsgd
from parsgd.cli.commands.fit import sum_workers
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.held_out import draw
from parsgd.errors import Outcome
from parsgd.model_io import model_files

SERIAL = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}


def npz(path, X, y):
    np.savez(path, X=X, y=y)
    return path


@pytest.mark.parametrize(
    ("model", "ours", "load", "arguments"),
    [
        # without an option for the rate there is none to choose
        ("sgd-classifier", parsgd.SGDClassifier(learning_rate="auto", **SERIAL), load_digits, ()),
        ("sgd-classifier", parsgd.SGDClassifier(eta0=0.1, **SERIAL), load_digits, ("--eta0", "0.1")),
        (
            "sgd-classifier",
            parsgd.SGDClassifier(algorithm="minibatch", **SERIAL),
            load_iris,
            ("--algorithm", "minibatch"),
        ),
        (
            "sgd-classifier",
            parsgd.SGDClassifier(loss="softmax", average=True, **SERIAL),
            load_iris,
            ("--loss", "softmax", "--average", "true"),
        ),
        (
            "sgd-classifier",
            parsgd.SGDClassifier(penalty=None, average=7, batch_size=4, **SERIAL),
            load_breast_cancer,
            ("--penalty", "none", "--average", "7", "--batch-size", "4"),
        ),
        (
            "sgd-regressor",
            parsgd.SGDRegressor(penalty="elasticnet", l1_ratio=0.3, eta0=0.02, **SERIAL),
            load_diabetes,
            ("--penalty", "elasticnet", "--set", "l1_ratio=0.3", "--eta0", "0.02"),
        ),
        ("sgd-one-class-svm", parsgd.SGDOneClassSVM(nu=0.2, **SERIAL), load_iris, ("--set", "nu=0.2")),
    ],
)
def test_the_command_fits_what_the_library_fits_to_the_bit(model, ours, load, arguments, cli, tmp_path):
    X, y = load(return_X_y=True)
    data, out = npz(tmp_path / "d.npz", X, y), tmp_path / "m.parsgd"
    cli.fit(data, out, "--model", model, "--no-standardize", "--test-fraction", "0", *arguments)
    theirs = model_files.load(out)
    ours.fit(X, y)
    assert theirs.get_params() == ours.get_params()
    assert np.array_equal(theirs.coef_, ours.coef_)


def test_the_same_table_in_any_format_gives_the_same_model(cli, table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.csv.gz", index=False, sep=";")
    table.to_parquet(tmp_path / "c.parquet")
    coefs = []
    for name in ("a.csv", "b.csv.gz", "c.parquet"):
        cli.fit(tmp_path / name, tmp_path / "m", "--target", "kind", "--drop", "y")
        coefs.append(model_files.load(tmp_path / "m").coef_)
    assert np.array_equal(coefs[0], coefs[1])
    assert np.array_equal(coefs[0], coefs[2])


def test_svmlight_counted_from_zero_or_one_gives_the_same_model(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    coefs = []
    for zero_based in (True, False):
        dump_svmlight_file(X, y, str(tmp_path / "d.svm"), zero_based=zero_based)
        cli.fit(tmp_path / "d.svm", tmp_path / "m")
        coefs.append(model_files.load(tmp_path / "m").coef_)
    assert coefs[0].shape == (3, 4)
    assert np.array_equal(*coefs)


def test_the_report_is_json_and_nothing_else(cli, table_csv, tmp_path):
    learn = ("--target", "kind", "--drop", "y", "--loss", "log_loss", "--max-iter", "5", "--tol", "none")
    parallel = ("--workers", "2", "--algorithm", "local")
    report = cli.report("fit", table_csv, "--out", tmp_path / "m", *learn, *parallel)
    assert report["rows"] == {"training": 160, "test": 40}
    assert report["scores"]["accuracy"] > 0.8
    assert set(report["scores"]) == {"accuracy", "log_loss"}
    assert report["outcome"] == "MAX_EPOCHS"
    assert report["algorithm"]["name"] == "local"
    assert [worker["worker"] for worker in report["workers"]] == [0, 1]
    assert sum(worker["examples"] for worker in report["workers"]) == 5 * 160
    assert sum(worker["weight"] for worker in report["workers"]) == pytest.approx(1.0)
    assert report["epochs"] == 5


def test_what_happened_is_said_in_words(cli, table_csv, tmp_path):
    options = ("--target", "y", "--model", "sgd-regressor", "--drop", "kind", "--max-iter", "100")
    said = cli("fit", table_csv, "--out", tmp_path / "m", *options).stdout
    for fact in (
        "200 rows",
        "age: 1",
        "missing values filled with the median",
        "city: 3 categories",
        "booleans as 1 and 0: member",
        "days since 1970",
        "epoch",
        "examples/s",
        "test score: R²",
        "RMSE",
        "(40 rows)",
        "mean weight",
        "algorithm:  serial",
        f"outcome:    {Outcome.CONVERGED.value}",
        f"saved:      {tmp_path / 'm'}",
    ):
        assert fact in said, fact
    assert "\x1b" not in said  # no colours, no cursor movements: this is not a terminal


def test_the_same_seed_gives_the_same_file_but_for_the_clock(cli, table_csv, tmp_path):
    for name in ("a", "b"):
        cli.fit(table_csv, tmp_path / name, "--target", "kind", "--seed", "5")
    cli.fit(table_csv, tmp_path / "c", "--target", "kind", "--seed", "6")
    a, b, c = (modelfile.load(tmp_path / name) for name in "abc")
    assert np.array_equal(a.estimator.coef_, b.estimator.coef_)
    # another seed is another split as well as another order
    assert not np.array_equal(a.columns.kinds[0].center, c.columns.kinds[0].center)
    assert [fitted.estimator.random_state for fitted in (a, b, c)] == [5, 5, 6]


def test_test_rows_teach_nothing(cli, table, tmp_path):
    """Medians, means, categories and coefficients stay the same whatever the test rows hold."""
    table = table.drop(columns="kind")
    test = draw([np.zeros(200, dtype=int)], np.array([200]), 40, seed=0)
    changed = table.copy()
    changed.loc[test, "age"] = 1e6
    changed.loc[test, "city"] = "Atlantis"
    changed.loc[test, "y"] = -1e6
    files = []
    for name, frame in (("a", table), ("b", changed)):
        frame.to_parquet(tmp_path / "d.parquet")
        cli.fit(tmp_path / "d.parquet", tmp_path / name, "--target", "y", "--model", "sgd-regressor")
        files.append(modelfile.load(tmp_path / name))
    ours, theirs = files
    assert np.array_equal(ours.estimator.coef_, theirs.estimator.coef_)
    assert ours.columns == theirs.columns


def test_the_reported_score_is_that_of_the_rows_kept_apart(cli, tmp_path):
    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "d.npz", X_train=X[:1000], y_train=y[:1000], X_test=X[1000:], y_test=y[1000:])
    arguments = ("--out", tmp_path / "m", "--loss", "log_loss", "--no-standardize")
    report = cli.report("fit", tmp_path / "d.npz", *arguments)
    model = model_files.load(tmp_path / "m")
    assert report["rows"] == {"training": 1000, "test": 797}
    assert report["scores"]["accuracy"] == model.score(X[1000:], y[1000:])
    assert report["scores"]["log_loss"] == pytest.approx(log_loss(y[1000:], model.predict_proba(X[1000:])), rel=1e-6)


def test_regression_scores_are_scikit_learns(cli, tmp_path):
    X, y = load_diabetes(return_X_y=True)
    np.savez(tmp_path / "d.npz", X_train=X[:300], y_train=y[:300], X_test=X[300:], y_test=y[300:])
    arguments = ("--out", tmp_path / "m", "--model", "sgd-regressor", "--no-standardize")
    report = cli.report("fit", tmp_path / "d.npz", *arguments)
    model = model_files.load(tmp_path / "m")
    assert report["scores"]["r2"] == pytest.approx(model.score(X[300:], y[300:]))
    assert report["scores"]["rmse"] == pytest.approx(root_mean_squared_error(y[300:], model.predict(X[300:])))


def test_rows_without_a_target_are_left_out_and_counted(cli, table, tmp_path):
    table.loc[:9, "y"] = np.nan
    table.to_csv(tmp_path / "d.csv", index=False)
    result = cli.fit(tmp_path / "d.csv", tmp_path / "m", "--target", "y", "--model", "sgd-regressor")
    assert "10 of 200 rows left out" in result.stdout
    assert "190 rows" in result.stdout


def test_outliers_need_no_target_and_are_scored_if_they_have_one(cli, table, tmp_path):
    table["out"] = np.where(np.arange(200) % 10 == 0, -1, 1)
    table.to_csv(tmp_path / "d.csv", index=False)
    svm = ("--model", "sgd-one-class-svm", "--out", tmp_path / "m", "--drop", "y")
    assert set(cli.report("fit", tmp_path / "d.csv", *svm)["scores"]) == {"inliers"}
    assert set(cli.report("fit", tmp_path / "d.csv", *svm, "--target", "out")["scores"]) == {"inliers", "accuracy"}
    assert set(cli.report("evaluate", tmp_path / "m", tmp_path / "d.csv")["scores"]) == {"inliers", "accuracy"}
    assert set(cli.report("fit", "iris", *svm[:4])["scores"]) == {"inliers"}


def test_a_class_with_one_row_does_not_stop_the_split(cli, tmp_path):
    frame = pd.DataFrame({"a": np.arange(30.0), "c": ["x"] * 15 + ["y"] * 14 + ["rare"]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    report = cli.report("fit", tmp_path / "d.csv", "--out", tmp_path / "m", "--target", "c")
    assert report["rows"] == {"training": 24, "test": 6}


def test_rounds_in_seconds_are_given_to_the_algorithm(cli, tmp_path):
    cli.fit("iris", tmp_path / "m", "--round-seconds", "0.05", "--workers", "2")
    assert model_files.load(tmp_path / "m").algorithm == parsgd.LocalSGD(seconds=0.05)
    cli.fit("iris", tmp_path / "m", "--round-seconds", "5", "--workers", "2", "--algorithm", "weighted")
    assert model_files.load(tmp_path / "m").algorithm == parsgd.WeightedAverage(seconds=5.0)


DIVERGES = ("--target", "a", "--model", "sgd-regressor", "--test-fraction", "0", "--no-standardize", "--eta0", "1e300")
MISTAKES = [
    (("fit", "iris"), 2, "--out"),
    (("fit", "iris", "--out", "OUT", "--loss", "log_los"), 2, "Did you mean 'log_loss'"),
    (("fit", "iris", "--out", "OUT", "--model", "sgd-clasifier"), 2, "Did you mean 'sgd-classifier'"),
    (("fit", "iris", "--out", "OUT", "--algorithm", "loca"), 2, "Did you mean 'local'"),
    (("fit", "iris", "--out", "OUT", "--engine", "thread"), 2, "Did you mean 'threads'"),
    (("fit", "iris", "--out", "OUT", "--penalty", "l3"), 2, "'l1'"),
    (("fit", "iris", "--out", "OUT", "--alpha", "-1"), 2, "alpha"),
    (("fit", "iris", "--out", "OUT", "--alpha", "much"), 2, "--alpha"),
    (("fit", "iris", "--out", "OUT", "--tol", "small"), 2, "tol"),
    (("fit", "iris", "--out", "OUT", "--workers", "0"), 2, "-1 uses all cores"),
    (("fit", "iris", "--out", "OUT", "--set", "l1_ratio"), 2, "NAME=VALUE"),
    (("fit", "iris", "--out", "OUT", "--set", "l1_ration=1"), 2, "Did you mean 'l1_ratio'"),
    (("fit", "iris", "--out", "OUT", "--set", "class_weight=heavy"), 2, "class_weight"),
    (("fit", "iris", "--out", "OUT", "--model", "sgd-one-class-svm", "--loss", "hinge"), 2, "has no loss"),
    (("fit", "iris", "--out", "OUT", "--round-seconds", "-1"), 2, "above 0"),
    (("fit", "iris", "--out", "OUT", "--test-fraction", "1"), 2, "such as 0.2"),
    (("fit", "iris", "--out", "OUT", "--max-categories", "1"), 2, "2 or more"),
    (("fit", "iris", "--out", "nowhere/OUT"), 2, "mkdir"),
    (("fit", "iris", "--out", "."), 2, "is a folder"),
    (("fit", "iris", "--out", "OUT", "--los", "hinge"), 2, "--loss"),
    (("fti", "iris"), 2, "fit"),
    (("fit", "irsi", "--out", "OUT"), 1, "Did you mean 'iris'"),
    (("fit", "iris", "--out", "OUT", "--target", "species"), 1, "remove --target"),
    (("fit", "digits", "--out", "OUT", "--drop", "pixel_9_9"), 1, "Did you mean 'pixel_"),
    (("fit", "few.csv", "--out", "OUT", "--target", "c"), 1, "too few"),
    (("fit", "few.csv", "--out", "OUT", "--target", "one"), 1, "all training rows have the class"),
    (("fit", "few.csv", "--out", "OUT"), 1, "--target COLUMN"),
    (("fit", "few.csv", "--out", "OUT", "--target", "C"), 1, "Did you mean 'c'"),
    (("fit", "few.csv", "--out", "OUT", *DIVERGES), 1, "smaller --eta0"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKES, ids=[" ".join(m[0][1:]) for m in MISTAKES])
def test_a_mistake_is_answered_by_what_to_type(arguments, code, said, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.csv").write_text("a,c,one\n1,x,1\n200,y,1\n")
    if said == "all training rows have the class":
        (tmp_path / "few.csv").write_text("a,c,one\n" + "1,x,1\n" * 20)
    result = cli(*arguments, code=code)
    assert said in result.stderr
    # a mistake in what was typed is told before any data are read; scikit-learn checks class weights later
    assert result.stdout == "" or code == 1 or said == "class_weight"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.csv"]


def test_nothing_is_left_of_a_fit_that_fails_while_saving(cli, tmp_path, monkeypatch):
    out = tmp_path / "m"
    cli.fit("iris", out)
    before = out.read_bytes()

    def fail(*files):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parsgd.model_io.model_files.os.replace", fail)
    assert "No space left" in cli.fit("digits", out, code=1).stderr
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_ctrl_c_before_the_fit_leaves_nothing(cli, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("parsgd.cli.tables.read_data.read", interrupt)
    assert "nothing was written" in cli.fit("iris", tmp_path / "m", code=130).stderr
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_told_once_and_deprecations_not(cli, tmp_path, monkeypatch):
    fit = parsgd.SGDClassifier.fit

    def warning_fit(self, *arguments):
        for _ in range(3):
            warnings.warn("the data look odd", UserWarning, stacklevel=1)
            warnings.warn("this will go", FutureWarning, stacklevel=1)
        return fit(self, *arguments)

    monkeypatch.setattr(parsgd.SGDClassifier, "fit", warning_fit)
    said = cli.fit("iris", tmp_path / "m").stdout
    assert said.count("the data look odd") == 1
    assert "this will go" not in said


@pytest.mark.parametrize(
    ("model", "data", "arguments"),
    [
        ("sgd-classifier", "digits", ()),
        ("sgd-classifier", "breast-cancer", ("--loss", "hinge", "--learning-rate", "optimal")),
        ("sgd-regressor", "diabetes", ("--alpha", "0.01")),
    ],
)
def test_tuning_fits_the_best_setting_and_the_report_shows_all(model, data, arguments, cli, tmp_path):
    out, page = tmp_path / "model.parsgd", tmp_path / "page.html"
    done = cli("fit", data, "--model", model, "--tune", *arguments, "--out", out, "--report", page, "--json")
    report = json.loads(done.stdout)
    n_settings = 5 if arguments else 25
    assert len(report["tuned"]) == n_settings
    best = max(report["tuned"], key=report["tuned"].get)
    fitted = parsgd.load(out)
    for pair in best.split(", "):
        name, value = pair.split("=")
        assert getattr(fitted, name) == pytest.approx(float(value), rel=1e-3)
    if "--alpha" in arguments:
        assert fitted.alpha == 0.01
    shown = page.read_text("utf-8")
    assert "The validation curves of the search" in shown
    assert all(name in shown for name in report["tuned"])
    assert report["scores"].get("accuracy", report["scores"].get("r2", 0.0)) > 0.4


@pytest.mark.parametrize("model", ["sgd-classifier", "sgd-regressor"])
def test_tuning_reads_streams(model, cli, tmp_path):
    path, out = tmp_path / "rows.csv", tmp_path / "model.parsgd"
    X = np.random.default_rng(0).standard_normal((400, 4)).round(3)
    y = X @ [1.0, 2.0, 3.0, 4.0] * 100
    answers = np.where(y > 0, "yes", "no") if model == "sgd-classifier" else y
    lines = [",".join(map(str, [*row, answer])) for row, answer in zip(X.tolist(), answers.tolist(), strict=True)]
    path.write_text("\n".join(["a,b,c,d,y", *lines]) + "\n")
    done = cli("fit", path, "--model", model, "--target", "y", "--tune", "--stream", "--out", out, "--json")
    report = json.loads(done.stdout)
    assert len(report["tuned"]) == 25
    assert max(report["tuned"].values()) > 0.9
    best = max(report["tuned"], key=report["tuned"].get)
    assert f"eta0={parsgd.load(out).eta0:.4g}" in best


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits", "--tune", "--hidden", "8"), "no search"),
        (("iris", "--tune", "--model", "sgd-one-class-svm"), "no search"),
        (("digits", "--tune", "--learning-rate", "adagrad", "--set", "loss=hinges"), "hinge"),
    ],
)
def test_tuning_is_refused_where_there_is_no_search(arguments, said, cli, tmp_path):
    done = cli("fit", *arguments, "--out", tmp_path / "model.parsgd", code=2)
    assert said in done.stderr


def test_sums_over_rounds_are_those_of_the_workers():
    def round_of(*workers):
        keys = ("worker", "steps", "examples", "weight", "seconds")
        return {"seconds": 1.0, "workers": [dict(zip(keys, (w, s, s, v, 0.5), strict=True)) for w, s, v in workers]}

    table = sum_workers([round_of((0, 10, 0.25), (1, 30, 0.75)), round_of((0, 20, 0.5), (1, 20, 0.5))])
    rows = [(w["worker"], w["steps"], w["seconds"], w["weight"]) for w in table]
    assert rows == [(0, 30, 1.0, 0.375), (1, 50, 1.0, 0.625)]


def test_parameters_are_read_as_they_are_meant():
    from parsgd.cli.option_values import parse_assignments, parse_parameter

    texts = ("none", "True", "3", "1e-3", "l2", "inf", 5)
    assert [parse_parameter(text) for text in texts] == [None, True, 3, 1e-3, "l2", np.inf, 5]
    weights = parse_assignments(['class_weight={"a": 2.0}', "shuffle=false"])
    assert weights == {"class_weight": {"a": 2.0}, "shuffle": False}
    assert json.loads(json.dumps(weights)) == weights
