"""``parsgd fit --hidden``: networks on the command line, and the options that they take and do not take."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file, load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import parsgd
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.read_data import read
from parsgd.model_io import model_files

SHORT = {"max_iter": 3, "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}
SERIAL = {**SHORT, "n_jobs": 1}


@pytest.mark.parametrize(
    ("ours", "load", "arguments"),
    [
        (parsgd.MLPClassifier((16, 8), **SERIAL), load_digits, ("--hidden", "16,8")),
        (parsgd.MLPClassifier(**SERIAL), load_breast_cancer, ("--model", "mlp-classifier")),
        (
            parsgd.MLPClassifier((5,), learning_rate_init=0.01, alpha=0.1, batch_size=16, **SERIAL),
            load_iris,
            ("--hidden", "5", "--eta0", "0.01", "--alpha", "0.1", "--batch-size", "16"),
        ),
        (
            parsgd.MLPClassifier((5,), solver="sgd", learning_rate="adaptive", activation="tanh", **SERIAL),
            load_iris,
            ("--hidden", "5", "--set", "solver=sgd", "--learning-rate", "adaptive", "--set", "activation=tanh"),
        ),
        (
            parsgd.MLPClassifier((5,), **{**SHORT, "n_jobs": 2}, algorithm="minibatch", engine="serial"),
            load_digits,
            ("--hidden", "5", "--workers", "2", "--algorithm", "minibatch", "--engine", "serial"),
        ),
        (
            parsgd.MLPRegressor(hidden_layer_sizes=(16,), **SERIAL),
            load_diabetes,
            ("--model", "sgd-regressor", "--hidden", "16"),
        ),
        (
            parsgd.MLPRegressor(loss="huber", hidden_layer_sizes=(16, 4), **SERIAL),
            load_diabetes,
            ("--model", "mlp-regressor", "--hidden", "16, 4", "--loss", "huber"),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_command_fits_the_librarys_network_to_the_bit(ours, load, arguments, cli, tmp_path):
    X, y = load(return_X_y=True)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    cli.fit(tmp_path / "d.npz", tmp_path / "m", "--no-standardize", "--test-fraction", "0", *arguments)
    theirs = model_files.load(tmp_path / "m")
    ours.fit(X, y)
    assert type(theirs) is type(ours)
    assert theirs.get_params() == ours.get_params()
    for our, their in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert np.array_equal(our, their)


def test_columns_of_numbers_are_standardized_as_for_linear_models(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    cli.fit(tmp_path / "d.npz", tmp_path / "m", "--hidden", "5", "--test-fraction", "0")
    with pytest.warns(ConvergenceWarning):
        ours = parsgd.MLPClassifier((5,), **SERIAL).fit(scale(X).astype(np.float32), y)
    theirs = model_files.load(tmp_path / "m")
    assert theirs.coefs_[0].dtype == np.float32
    assert np.allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-6)


def test_a_network_learns_what_follows_from_products_of_columns(cli, tmp_path):
    X = np.random.default_rng(0).normal(size=(1000, 2))
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "same": np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")})
    frame.to_csv(tmp_path / "d.csv", index=False)
    fit = ("fit", tmp_path / "d.csv", "--out", tmp_path / "m", "--target", "same")
    assert cli.report(*fit)["scores"]["accuracy"] < 0.7
    report = cli.report(*fit, "--hidden", "32", "--eta0", "0.01")
    assert report["estimator"] == "MLPClassifier"
    assert report["scores"]["accuracy"] > 0.95
    assert cli.report("evaluate", tmp_path / "m", tmp_path / "d.csv")["scores"]["accuracy"] > 0.95


def test_a_network_predicts_from_every_kind_of_column(cli, table_csv, tmp_path):
    cli.fit(table_csv, tmp_path / "m", "--target", "kind", "--drop", "y", "--hidden", "8")
    cli("predict", tmp_path / "m", table_csv, "--out", tmp_path / "p.csv")
    fitted = modelfile.load(tmp_path / "m")
    ours = pd.read_csv(tmp_path / "p.csv")
    assert ours.columns.tolist() == ["prediction", "probability_large", "probability_small"]
    assert ours["prediction"].tolist() == fitted.estimator.predict(fitted.rows(read(str(table_csv)))).tolist()
    cli.fit(table_csv, tmp_path / "m", "--target", "y", "--drop", "kind", "--hidden", "8", "--model", "sgd-regressor")
    assert set(cli.report("evaluate", tmp_path / "m", table_csv)["scores"]) == {"r2", "rmse"}


def test_sparse_rows_make_a_network_too(cli, tmp_path):
    X, y = load_digits(return_X_y=True)
    dump_svmlight_file(X, y, str(tmp_path / "d.svm"), zero_based=False)
    report = cli.report("fit", tmp_path / "d.svm", "--out", tmp_path / "m", "--hidden", "30", "--test-fraction", "0")
    assert report["scores"]["accuracy"] > 0.9
    assert cli.report("evaluate", tmp_path / "m", tmp_path / "d.svm")["scores"] == report["scores"]


def test_rounds_in_seconds_are_given_to_a_networks_algorithm(cli, tmp_path):
    cli.fit("digits", tmp_path / "m", "--hidden", "5", "--round-seconds", "0.05", "--workers", "2")
    assert model_files.load(tmp_path / "m").algorithm == parsgd.LocalSGD(seconds=0.05)


def test_lbfgs_is_told_as_what_ran(cli, tmp_path):
    arguments = ("--out", tmp_path / "m", "--hidden", "5", "--set", "solver=lbfgs", "--tol", "1e-2")
    report = cli.report("fit", "iris", *arguments)
    assert report["algorithm"] == {"name": "lbfgs", "why": "requested"}
    assert report["workers"] == []
    assert report["scores"]["accuracy"] > 0.8
    said = cli("fit", "iris", *arguments).stdout
    assert "algorithm:  lbfgs: requested" in said
    assert "mean weight" not in said


def test_what_happened_to_a_network_is_said_in_words(cli, tmp_path):
    said = cli.fit("iris", tmp_path / "m", "--hidden", "5").stdout
    for fact in ("epoch 3.0 of at most 3", "Maximum iterations (3) reached", "mean weight", "algorithm:  serial"):
        assert fact in said, fact


def test_help_tells_of_networks(cli):
    said = cli("fit", "--help").stdout
    for word in ("--hidden", "mlp-classifier", "mlp-regressor", "solver=sgd", "minibatch"):
        assert word in said


MISTAKES = [
    (("--hidden", "64,x"), "such as --hidden 256,128"),
    (("--hidden", "0"), "such as --hidden 256,128"),
    (("--hidden", "64,"), "such as --hidden 256,128"),
    (("--hidden", "-3"), "such as --hidden 256,128"),
    (("--hidden", "8", "--model", "sgd-one-class-svm"), "use --hidden with sgd-classifier or sgd-regressor"),
    (("--hidden", "8", "--model", "mlp-clasifier"), "Did you mean 'mlp-classifier'"),
    (("--hidden", "8", "--penalty", "l1"), "has no penalty: its penalty is l2 with strength --alpha"),
    (("--hidden", "8", "--average", "true"), "has no average: to average several workers use --workers"),
    (("--hidden", "8", "--loss", "log_loss"), "has no loss: its loss is the cross-entropy"),
    (("--hidden", "8", "--model", "sgd-regressor", "--loss", "hube"), "Did you mean 'huber'"),
    (("--hidden", "8", "--learning-rate", "adaptive"), "Use --eta0 for the rate"),
    (("--hidden", "8", "--learning-rate", "optimal", "--set", "solver=sgd"), "'invscaling'"),
    (("--hidden", "8", "--set", "solver=lbfgs", "--workers", "2"), "--workers needs --set solver=adam"),
    (("--hidden", "8", "--set", "solver=lbfgs", "--batch-size", "2"), "--batch-size needs --set"),
    (("--hidden", "8", "--set", "solver=lbfgs", "--round-seconds", "1"), "--round-seconds needs --set"),
    (("--hidden", "8", "--set", "solver=adm"), "Did you mean 'adam'"),
    (("--hidden", "8", "--set", "drop=0.1"), "Did you mean 'dropout'"),
    (("--hidden", "8", "--eta0", "0"), "learning_rate_init"),
    (("--model", "mlp-regressor", "--penalty", "l1"), "has no penalty"),
    (("--set", "solver=adam"), "sgd-classifier has no solver"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_an_option_that_does_not_fit_is_refused_before_any_work(arguments, said, cli, tmp_path):
    result = cli("fit", "iris", "--out", tmp_path / "m", *arguments, code=2)
    assert said in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


# -- networks from Python --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_network_saved_from_python_predicts_all_its_columns(cli, tmp_path):
    X, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    one = parsgd.MLPClassifier((5,), **SERIAL).fit(X.astype(np.float32), y)
    labels = parsgd.MLPClassifier((5,), **SERIAL).fit(X, np.eye(3, dtype=int)[y])
    numbers = parsgd.MLPRegressor(hidden_layer_sizes=(5,), **SERIAL).fit(X, X[:, :2])
    rows = ["prediction_0", "prediction_1", "prediction_2", "probability_0", "probability_1", "probability_2"]
    for model, columns in ((one, ["prediction", *rows[3:]]), (labels, rows), (numbers, rows[:2])):
        model_files.save(model, tmp_path / "m")
        cli("predict", tmp_path / "m", tmp_path / "d.npz", "--out", tmp_path / "p.parquet")
        ours = pd.read_parquet(tmp_path / "p.parquet")
        assert ours.columns.tolist() == columns
        theirs = model.predict(X.astype(model.coefs_[0].dtype)).reshape(150, -1)
        assert np.array_equal(ours.filter(like="prediction").to_numpy(), theirs)
        if model is one:
            report = cli.report("evaluate", tmp_path / "m", tmp_path / "d.npz")
            assert report["scores"]["accuracy"] == model.score(X.astype(np.float32), y)
        else:
            assert "Score the model in Python" in cli("evaluate", tmp_path / "m", tmp_path / "d.npz", code=1).stderr
