"""``parsgd bench``: both libraries do the same work, in turns, and what is told is what was measured."""

import numpy as np
import pytest
import sklearn

import parsgd
from parsgd.cli import fitting
from parsgd.cli.commands import bench
from parsgd.errors import Outcome

SMALL = ("--rows", "60", "--features", "3", "--repeats", "2", "--workers", "1,2")


def test_the_report_tells_of_all_fits(cli):
    report = cli.report("bench", *SMALL, "--passes", "2")
    assert report["versions"] == {"parsgd": parsgd.__version__, "scikit-learn": sklearn.__version__}
    assert (report["rows"], report["features"], report["repeats"]) == (48, 3, 2)
    entries = [(one["library"], one["workers"]) for one in report["results"]]
    assert entries == [("scikit-learn", 1), ("parsgd", 1), ("parsgd", 2)]
    for one in report["results"]:
        assert one["passes"] == 2
        assert one["fastest_s"] <= one["median_s"] <= one["slowest_s"]
    assert report["results"][0]["speedup"] == 1.0


def test_one_worker_and_scikit_learn_fit_the_same_model(cli):
    """The same passes over the same rows in the same order: what is compared is the same work."""
    for model in ("sgd-classifier", "sgd-regressor", "mlp-classifier", "mlp-regressor", "sgd-one-class-svm"):
        theirs, ours, _ = cli.report("bench", *SMALL, "--model", model)["results"]
        assert theirs["estimator"] == ours["estimator"]
        assert theirs["scores"] == pytest.approx(ours["scores"], rel=1e-3), model


def test_fits_take_turns_and_the_first_one_changes(monkeypatch):
    order = []
    monkeypatch.setattr(bench, "time_fit", lambda estimator, parts: order.append(estimator) or 1.0)
    contenders = [bench.Contender("a", 1, "a", []), bench.Contender("b", 1, "b", [])]
    bench.measure(contenders, None, 2, bench.Console(quiet=True))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(one.seconds) for one in contenders] == [2, 2]


def test_scikit_learn_has_workers_where_it_can_use_them(cli):
    entries = [(one["library"], one["workers"]) for one in cli.report("bench", *SMALL, "--classes", "3")["results"]]
    assert entries == [("scikit-learn", 1), ("scikit-learn", 2), ("parsgd", 1), ("parsgd", 2)]


def test_algorithms_of_parsgd_can_be_compared_with_it(cli):
    report = cli.report("bench", *SMALL, "--set", "algorithm=hogwild")
    assert len(report["results"]) == 3


def test_own_data_are_prepared_as_by_fit(cli, table_csv):
    report = cli.report("bench", table_csv, "--target", "kind", "--drop", "y", "--repeats", "1", "--passes", "1")
    assert (report["rows"], report["features"], report["dtype"]) == (160, 7, "float32")
    said = cli("bench", table_csv, "--target", "kind", "--drop", "y", "--repeats", "1", "--test-fraction", "0").stdout
    assert sklearn.__version__ in said
    assert "score on the training rows" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--loss", "softmax"), "scikit-learn does not support this: The 'loss' parameter"),
        (("--batch-size", "4"), "SGDClassifier has no batch_size"),
        (("iris", "--rows", "40"), "--rows is for generated data"),
        (("--rows", "3"), "--rows 3: too few"),
        (("--classes", "1"), "--classes 1: too few"),
        (("--repeats", "0"), "--repeats must be 1 or more"),
        (("--passes", "0"), "--passes must be 1 or more"),
        (("--workers", "one"), "--workers one: give integers"),
        (("--loss", "hing"), "Did you mean 'hinge'"),
    ],
)
def test_mistakes_are_told(arguments, said, cli):
    assert said in cli("bench", *arguments, code=2).stderr


def test_ctrl_c_ends_it(cli, monkeypatch):
    class Interrupted:
        outcome_ = Outcome.INTERRUPTED

        def fit(self, X, y):
            return self

    parts = fitting.FitInputs(np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(KeyboardInterrupt):
        bench.time_fit(Interrupted(), parts)
