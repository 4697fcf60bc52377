"""``parsgd simulate``: real training on a virtual clock, compared in a table, a plot and JSON."""

import sys
from types import ModuleType

import numpy as np
import pytest

import parsgd
from parsgd.cli import option_values
from parsgd.cli.cli_errors import UsageError
from parsgd.cli.commands import loss_plots, simulate
from parsgd.core import AlgorithmTraits
from parsgd.errors import Outcome
from parsgd.planning.trials.heldout import CurvePoint
from parsgd.viz import number_format

CREW = ("--speeds", "1,1,0.5,0.1", "--latency", "5ms", "--rate", "1000")
TARGET = ("--target", "kind", "--drop", "y", "--loss", "log_loss", "--alpha", "0.01")


@pytest.fixture
def report(cli, table_csv):
    def ask(*arguments, target=TARGET):
        return cli.report("simulate", table_csv, *target, *CREW, *arguments)

    return ask


def by_name(report):
    return {result["algorithm"]: result for result in report["algorithms"]}


def test_what_is_reported_is_what_the_library_finds_on_the_same_engine(cli, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 4))
    y = np.where(X @ rng.standard_normal(4) > 0, "large", "small")
    np.savez(tmp_path / "d.npz", X_train=X[:100], y_train=y[:100], X_test=X[100:], y_test=y[100:])
    options = ("--loss", "log_loss", "--alpha", "0.1", "--passes", "3", "--no-standardize")
    report = cli.report("simulate", tmp_path / "d.npz", *CREW, *options, "--algorithm", "local:sync_every=0.5")
    engine = parsgd.Simulated(speeds=(1, 1, 0.5, 0.1), latency_s=0.005, rate=1000.0)
    parallel = {"engine": engine, "algorithm": parsgd.LocalSGD(sync_every=0.5)}
    model = parsgd.SGDClassifier("log_loss", alpha=0.1, max_iter=3, tol=None, random_state=0, **parallel)
    model.fit(X[:100], y[:100])
    (ours,) = report["algorithms"]
    assert ours["seconds"] == model.history_[-1]["seconds"]
    assert ours["scores"]["accuracy"] == model.score(X[100:], y[100:])
    # the slowest worker, with a quarter of the rows: 25 examples at 100 a second, and two rounds of messages
    assert ours["seconds_per_pass"] == pytest.approx(0.25 + 2 * 2 * 0.005)
    busy = sum(worker["seconds"] for entry in model.history_ for worker in entry["workers"])
    assert ours["waited"] == pytest.approx(1 - busy / (4 * ours["seconds"]))
    assert report["rows"] == {"training": 100, "test": 20}
    assert report["engine"]["workers"] == 4


@pytest.mark.parametrize(
    ("arguments", "loss"),
    [
        (("--loss", "log_loss", "--alpha", "0.01"), "log_loss"),
        (("--loss", "log_loss", "--alpha", "0.01", "--set", "average=true"), "log_loss"),
        (("--hidden", "5"), "log_loss"),
    ],
    ids=["linear", "averaged", "network"],
)
def test_the_curve_ends_at_the_loss_of_the_model_on_the_rows_kept_apart(report, arguments, loss):
    found = report(
        "--algorithm", "local:sync_every=1,minibatch", *arguments, target=("--target", "kind", "--drop", "y")
    )
    assert found["loss"] == f"mean {loss} on the test rows"
    for result in found["algorithms"]:
        first, last = result["curve"][0], result["curve"][-1]
        assert (first["seconds"], first["passes"]) == (0.0, 0.0)
        assert last["loss"] == result["loss"] == pytest.approx(result["scores"]["log_loss"], rel=1e-5)
        assert last["seconds"] == result["seconds"]
        assert result["loss"] < first["loss"]


@pytest.mark.parametrize("model", ["sgd-regressor", "mlp-regressor"])
def test_numbers_are_predicted_too(report, model):
    found = report("--model", model, "--algorithm", "local:sync_every=1", target=("--target", "y", "--drop", "kind"))
    (result,) = found["algorithms"]
    assert result["loss"] == pytest.approx(0.5 * result["scores"]["rmse"] ** 2, rel=1e-5)


@pytest.mark.parametrize("arguments", [("--loss", "softmax"), ("--hidden", "5")])
def test_several_classes_have_one_loss(cli, arguments):
    found = cli.report("simulate", "iris", *CREW, "--algorithm", "minibatch:batch_size=10", *arguments)
    (result,) = found["algorithms"]
    assert result["loss"] == pytest.approx(result["scores"]["log_loss"], rel=1e-5)


def test_rows_of_a_class_that_training_never_saw_have_no_loss(cli, tmp_path):
    X, y = np.ones((12, 1)), np.array(list("ababababc" + "abc"))
    np.savez(tmp_path / "d.npz", X_train=X[:8], y_train=y[:8], X_test=X[8:], y_test=y[8:])
    found = cli.report("simulate", tmp_path / "d.npz", "--speeds", "1,1", "--algorithm", "local", "--loss", "log_loss")
    assert found["algorithms"][0]["scores"]["rows_of_unknown_class"] == 2
    assert np.isfinite(found["algorithms"][0]["loss"])


def test_a_one_shot_algorithm_is_seen_before_and_after_and_the_others_at_each_tenth_of_a_pass(report):
    found = by_name(report("--algorithm", "weighted,local,minibatch:batch_size=8", "--passes", "2"))
    assert [point["passes"] for point in found["weighted"]["curve"]] == [0.0, 2.0]
    for name in ("local", "minibatch:batch_size=8"):
        passes = [point["passes"] for point in found[name]["curve"]]
        assert len(passes) == 21
        assert passes == sorted(passes)


def test_the_same_seed_gives_the_same_report_but_for_the_real_time(report):
    arguments = ("--jitter", "0.5", "--seconds", "20ms", "--algorithm", "local,weighted")

    def ask(seed):
        found = report(*arguments, "--seed", seed)
        for result in found["algorithms"]:
            del result["real_seconds"]
        return found

    assert ask(3) == ask(3) != ask(4)


def test_rounds_in_seconds_are_virtual_and_only_for_algorithms_that_count_so(report):
    found = by_name(report("--seconds", "0.1s", "--algorithm", "weighted,minibatch", "--passes", "50"))
    assert found["weighted"]["seconds"] == pytest.approx(0.11)
    assert found["weighted"]["outcome"] == "OUT_OF_TIME"
    # 100 examples of each of two workers, 50 and 10 of the others, of 160 rows
    assert found["weighted"]["passes"] == pytest.approx(260 / 160)
    assert found["minibatch"]["outcome"] == "MAX_EPOCHS"


def test_the_dead_are_named_and_a_crew_that_dies_is_a_result(report, cli, table_csv):
    found = by_name(report("--failures", "3:0.1s,0-1:0.2s", "--algorithm", "local,weighted"))
    why = {gone["why"] for gone in found["weighted"]["lost"]}
    assert why == {"machine 0 failed after 0.2 s", "machine 1 failed after 0.2 s", "machine 3 failed after 0.1 s"}
    found = by_name(report("--failures", "0-3:0.1s", "--algorithm", "weighted,minibatch:batch_size=4"))
    for result in found.values():
        assert result["outcome"] == "WorkersLostError"
        assert "All 4 workers are lost" in result["why"]
    assert len(found["weighted"]["curve"]) == 1
    assert len(found["minibatch:batch_size=4"]["curve"]) > 1
    said = cli("simulate", table_csv, *TARGET, *CREW, "--failures", "0-3:0.1s", "--algorithm", "local").stdout
    assert "All 4 workers are lost" in said


def test_the_goal_is_a_loss_that_all_reach_or_the_one_that_was_asked_for(report):
    found = report("--algorithm", "weighted,local:sync_every=0.5")
    for result in found["algorithms"]:
        reached = [point for point in result["curve"][1:] if point["loss"] <= found["goal"]]
        assert result["seconds_to_goal"] == reached[0]["seconds"]
    lowest = [min(point["loss"] for point in result["curve"][1:]) for result in found["algorithms"]]
    assert found["goal"] == max(lowest)
    found = report("--algorithm", "local", "--goal", "1e-9")
    assert found["goal"] == 1e-9
    assert found["algorithms"][0]["seconds_to_goal"] is None


def test_what_was_simulated_is_told_in_words_and_drawn(cli, table_csv, tmp_path):
    figure = tmp_path / "curves.png"
    options = ("--algorithm", "local,weighted", "--failures", "1:10ms", "--figure", figure)
    said = cli("simulate", table_csv, *TARGET, *CREW, *options).stdout
    for fact in (
        "200 rows",
        "virtual time",
        "per pass",
        "to loss",
        "final loss",
        "waiting",
        "lost",
        "weighted",
        "local",
        "mean log_loss on the test rows",
        "virtual time, s",
        "•• local",
        "++ weighted",
        "test accuracy",
        f"saved:      {figure}",
    ):
        assert fact in said, fact
    assert "\x1b" not in said
    drawn = [line for line in said.splitlines() if "│" in line]
    assert len(drawn) > 10
    assert max(map(len, drawn)) <= 120
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_thousand_workers_are_typed_in_a_few_letters(report):
    workers = ("--speeds", "1x900,0.1x100", "--latency", "1msx999,2s", "--failures", "0-99:0s")
    found = report(*workers, "--algorithm", "local:sync_every=1", "--passes", "1")
    assert found["engine"]["workers"] == 1000
    assert len(found["algorithms"][0]["lost"]) == 100


def test_algorithms_that_need_what_is_not_there_are_refused_before_data_are_read(cli, monkeypatch):
    monkeypatch.setattr(parsgd.LocalSGD, "traits", AlgorithmTraits(requires=frozenset({"shared_memory"})))
    said = cli("simulate", "nowhere.csv", *CREW, "--algorithm", "weighted,local", code=2).stderr
    assert "algorithm='local' needs shared_memory; engine='simulated' offers cancel" in said


@pytest.mark.parametrize(
    ("package", "module", "said"),
    [
        ("plotext", None, "The plot needs plotext 5: pip install 'parsgd[cli]'"),
        ("plotext", ModuleType("plotext"), "The plot needs plotext 5: pip install 'parsgd[cli]'"),
        ("matplotlib", None, "--figure needs matplotlib: pip install 'parsgd[plot]'"),
    ],
    ids=["none", "another one", "no matplotlib"],
)
def test_without_a_plotting_library_it_says_so_before_any_work(package, module, said, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, package, module)
    assert said in cli("simulate", "nowhere.csv", *CREW, "--figure", "a.png", code=1).stderr


def test_json_needs_no_plotting_library(report, monkeypatch):
    for package in ("plotext", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    assert len(report("--algorithm", "local")["algorithms"]) == 1


MISTAKES = [
    ((), "--speeds"),
    (("--speeds", "1,fast"), "--speeds fast: give numbers above 0, such as --speeds 1,1,0.5,0.1"),
    (("--speeds", "1,0"), "--speeds 0: give numbers above 0"),
    (("--speeds", "1x0"), "--speeds 1x0: give a count after x"),
    ((*CREW, "--latency", "5 parsecs"), "--latency 5 parsecs: give a time of 0 or more in us, ms, s, min or h"),
    ((*CREW, "--latency", "-5ms"), "--latency -5ms: give a time"),
    ((*CREW, "--latency", "1.2.3s"), "--latency 1.2.3s: give a time"),
    ((*CREW, "--latency", "1ms,2ms"), "one per worker, 4"),
    ((*CREW, "--merge", "x"), "--merge x: give a time"),
    ((*CREW, "--seconds", "soon"), "--seconds soon: give a time"),
    ((*CREW, "--seconds", "0s"), "'seconds' parameter of WeightedAverage"),
    ((*CREW, "--failures", "3"), "--failures 3: give WORKER:TIME, such as 3:2.5s"),
    ((*CREW, "--failures", "4:1s"), "--failures 4:1s: workers are numbered 0 to 3"),
    ((*CREW, "--failures", "2-1:1s"), "--failures 2-1:1s: workers are numbered"),
    ((*CREW, "--failures", "1:x"), "--failures x: give a time"),
    ((*CREW, "--rate", "0"), "'rate' parameter of Simulated"),
    ((*CREW, "--jitter", "-1"), "'jitter' parameter of Simulated"),
    ((*CREW, "--bandwidth", "0"), "'bandwidth_bytes_per_s' parameter of Simulated"),
    ((*CREW, "--algorithm", "loca"), "Did you mean 'local'"),
    ((*CREW, "--algorithm", "local:sync_evry=1"), "Did you mean 'sync_every'"),
    ((*CREW, "--algorithm", "local:sync_every"), "NAME:KEY=VALUE"),
    ((*CREW, "--algorithm", "local:sync_every=1.5"), "'sync_every' parameter of LocalSGD"),
    ((*CREW, "--passes", "0"), "max_iter"),
    ((*CREW, "--loss", "log_los"), "Did you mean 'log_loss'"),
    ((*CREW, "--model", "sgd-one-class-svm"), "use a classifier or a regressor"),
    ((*CREW, "--hidden", "5", "--set", "solver=lbfgs"), "solver=adam, adamw or sgd"),
    ((*CREW, "--figure", "a.gif"), "--figure a.gif: the name must end in .png, .pdf, .svg"),
    ((*CREW, "--figure", "nowhere/a.png"), "mkdir -p nowhere"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(m[0][-2:]) for m in MISTAKES])
def test_a_mistake_is_answered_by_what_to_type_before_data_are_read(arguments, said, cli):
    result = cli("simulate", "nowhere.csv", *arguments, code=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_ctrl_c_shows_what_was_simulated_until_then(cli, table_csv, monkeypatch):
    fit = parsgd.SGDClassifier.fit

    def interrupted_fit(self, *arguments):
        fit(self, *arguments).outcome_ = Outcome.INTERRUPTED

    monkeypatch.setattr(parsgd.SGDClassifier, "fit", interrupted_fit)
    result = cli("simulate", table_csv, *TARGET, *CREW, "--algorithm", "local,minibatch", code=130)
    assert "final loss" in result.stdout
    assert "minibatch" not in result.stdout
    assert "Interrupted; the results so far are shown." in result.stderr


def test_help_says_what_the_curve_is(cli):
    said = " ".join(cli("simulate", "--help").stdout.replace("│", " ").split())
    assert "the loss of the merged model" in said
    for name in ("--speeds", "--latency", "--jitter", "--failures", "--algorithm", "--seconds", "--figure", "--json"):
        assert name in said


def test_times_are_read_and_told_with_their_units():
    texts = ("5ms", "2.5 s", "1e-3s", "3us", "3µs", "0", "1h")
    assert [option_values.parse_seconds(text, "-") for text in texts] == [0.005, 2.5, 0.001, 3e-6, 3e-6, 0.0, 3600.0]
    told = ["0 s", "3 µs", "250 ms", "1 s", "20 min 34 s"]
    assert [number_format.seconds(s) for s in (0.0, 3e-6, 0.25, 1.0, 1234.0)] == told


def test_algorithms_are_named_with_what_they_are_made_with():
    found = simulate.parse_algorithms("local:sync_every=1:rule=wp, weighted,local", 0.5)
    assert found == {
        "local:sync_every=1:rule=wp": parsgd.LocalSGD(sync_every=1, seconds=0.5, rule="wp"),
        "weighted": parsgd.WeightedAverage(seconds=0.5),
        "local": parsgd.LocalSGD(seconds=0.5),
    }
    with pytest.raises(UsageError, match="local accepts sync_every, seconds, rule"):
        simulate.parse_algorithms("local:nothing=1", None)


def test_a_curve_is_a_flight_of_steps():
    curve = [CurvePoint(0.0, 0.0, 3.0), CurvePoint(1.0, 0.5, 2.0), CurvePoint(4.0, 1.0, 1.0)]
    longer = [CurvePoint(0.0, 0.0, 3.0), CurvePoint(5.0, 1.0, 1.0)]
    steps, unit = loss_plots.make_steps({"ours": curve, "longer": longer})
    assert steps["ours"] == ([0.0, 1.0, 1.0, 4.0, 4.0, 5.0], [3.0, 3.0, 2.0, 2.0, 1.0, 1.0])
    assert unit == "s"


def test_curves_have_colours_only_where_there_are_some():
    many = {str(i): [CurvePoint(0.0, 0.0, 1.0), CurvePoint(1.0, 1.0, 0.1 * i)] for i in range(8)}
    plain, coloured = (loss_plots.draw_in_terminal(many, "loss", 80, colours) for colours in (False, True))
    assert "\x1b" not in plain
    assert coloured.count("\x1b") > 20


def test_a_loss_that_is_no_number_stops_no_plot():
    odd = {"a": [CurvePoint(0.0, 0.0, 1.0), CurvePoint(1.0, 1.0, float("nan"))], "b": [CurvePoint(0.0, 0.0, 1.0)] * 2}
    said = loss_plots.draw_in_terminal(odd, "loss", 60, False)
    assert "•• a" in said
    assert "++ b" in said
    assert simulate.find_time_to_loss([point._asdict() for point in odd["a"]], 0.5) is None
    lowest = [{"loss": 1.0, "curve": [point._asdict() for point in curve]} for curve in odd.values()]
    assert simulate.choose_goal(lowest, None) == 1.0
