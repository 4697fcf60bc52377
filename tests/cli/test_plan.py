"""``parsgd plan``: a table, a sentence, and JSON, on the rows and parameters that ``fit`` would take."""

import math

import numpy as np
import pytest

import parsgd
from parsgd.planning.trials import trial_budget

TARGET = ("--target", "kind", "--drop", "y", "--loss", "log_loss", "--alpha", "0.01")


@pytest.fixture
def report(cli, table_csv):
    return lambda *arguments: cli.report("plan", table_csv, *TARGET, "--workers", "1,64", *arguments)


def test_what_is_reported_is_what_the_library_finds_on_the_same_rows(cli, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.where(X @ rng.standard_normal(4) > 0, "large", "small")
    np.savez(tmp_path / "d.npz", X=X, y=y)
    arguments = ("--loss", "log_loss", "--alpha", "0.1", "--passes", "3", "--no-standardize", "--seconds", "60s")
    found = cli.report("plan", tmp_path / "d.npz", *arguments, "--workers", "64")
    ours = parsgd.plan(
        parsgd.SGDClassifier("log_loss", alpha=0.1, max_iter=3, tol=None, random_state=0), X, y, 64, seconds=60.0
    )
    assert found["goal"] == ours.goal
    assert found["rows"] == 300
    assert [cell["label"] for cell in found["cells"]] == [cell.label for cell in ours.cells]
    known = [cell.passes if math.isfinite(cell.passes) else None for cell in ours.cells]
    assert [cell["passes"] for cell in found["cells"]] == known
    assert found["noise_scale"] == pytest.approx(ours.noise_scale)


def test_the_sentence_comes_last_and_the_table_before_it(cli, table_csv):
    said = cli("plan", table_csv, *TARGET, "--workers", "1,64", "--latency", "1h", "--seconds", "60s").stdout
    for fact in ("200 rows", "workers", "algorithm", "per round", "serial", "cluster", "noise scale", "planned in"):
        assert fact in said, fact
    assert said.strip().splitlines()[-1].startswith("More workers will not help: with 64 (")
    assert "\x1b" not in said


def test_the_cluster_is_as_it_was_described(report):
    found = report("--latency", "5ms", "--bandwidth", "1000000", "--merge", "2ms", "--seconds", "20s")
    costs = found["costs"]
    assert (costs["latency_s"], costs["bandwidth_bytes_per_s"], costs["merge_s"]) == (0.005, 1e6, 0.002)
    (cell,) = [cell for cell in found["cells"] if cell["label"] == "local, adaptive, 10 a pass"]
    assert cell["engine"] == "simulated"
    message = costs["state_bytes"] / 1e6
    assert cell["round_s"] == pytest.approx(2 * (0.005 + message) + 64 * 0.002)


def test_a_cell_that_never_gets_there_is_no_number_in_json(report):
    found = report("--alpha", "0.001", "--tolerance", "0", "--seconds", "60s")
    never = [cell for cell in found["cells"] if cell["reaches"] is False]
    assert all(cell["seconds"] is None and cell["passes"] is None for cell in never)
    assert found["best"]["reaches"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "1,two"), "--workers 1,two: give integers of 1 or more"),
        (("--workers", "0"), "--workers 0: give integers"),
        (("--latency", "5 parsecs"), "--latency 5 parsecs: give a time"),
        (("--model", "sgd-one-class-svm"), "--model sgd-one-class-svm has no held-out loss"),
        (("--tolerance=-1",), "'tolerance' parameter of plan"),
        (("--set", "color=red"), "has no color"),
    ],
)
def test_mistakes_are_explained(cli, table_csv, arguments, said):
    assert said in cli("plan", table_csv, "--target", "kind", *arguments, code=2).stderr


def test_networks_are_planned_for_too(cli, table_csv):
    network = ("--model", "mlp-regressor", "--hidden", "4", "--batch-size", "16", "--passes", "2")
    found = cli.report("plan", table_csv, "--target", "y", "--drop", "kind", *network, "--workers", "2")
    assert found["passes"] == 2
    assert {"minibatch", "local, 10 a pass"} <= {cell["label"] for cell in found["cells"]}
    assert found["spread"] is None


def test_a_plan_keeps_to_its_time(report):
    # serial SGD alone would take hours; that it ends at all is the point
    found = report("--passes", "1000000", "--seconds", "500ms")
    assert found["passes"] == 1_000_000
    assert trial_budget.SECONDS == 4.0
