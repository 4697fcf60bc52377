"""Turns, ratios and readings: what the page of benchmarks is made of."""

import json
from dataclasses import replace

import pytest

from benchmarks import figures, page, readings
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread, fastest, ratio, run_turns
from benchmarks.readings import Reading, Taken

MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "memory_bytes": 8 * 10**9,
    "python": "3.12.0",
    "versions": {"numpy": "2.0", "torch": None},
    "bandwidth_bytes_per_s": {"1": 1e10, "2": 2e10},
    "gemm_flop_per_s": {"1": 1e11, "2": 2e11},
}
MET = Reading(
    "equal_work", "sparse", "parsgd, 2 workers", ratio=Spread(5.0, 4.8, 5.1), peer="scikit-learn SGD", target=4.5
)


def taken(*rows, **changes):
    return replace(Taken("abc", "2026-01-01 00:00 UTC", 3, MACHINE, tuple(rows)), **changes)


@pytest.mark.slow
def test_everybody_is_warmed_up_once_and_takes_every_turn():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    times = run_turns(runs, 3)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert times == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


def test_a_warm_up_of_its_own_takes_the_place_of_a_whole_run():
    calls = []
    run_turns({"a": lambda: calls.append("run") or 1.0}, 1, lambda name: calls.append(f"warm {name}"))
    assert calls == ["warm a", "run"]


def test_a_ratio_is_of_runs_of_the_same_turn():
    assert ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == Spread(3.0, 2.5, 3.5)
    with pytest.raises(ValueError, match="same turns"):
        ratio([1.0], [1.0, 2.0])


def test_the_fastest_has_the_smallest_median():
    assert fastest({"a": [1.0, 9.0, 9.0], "b": [2.0, 2.0, 20.0]}, ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"target": 5.1}, False),
        ({"target": None}, None),
        ({"ratio": None}, None),
        ({"at_most": True}, False),
        ({"ratio": None, "values": (0.5, 0.7, 0.6), "target": 0.6}, True),
        ({"ratio": None, "values": (0.5, 0.7, 0.6), "target": 0.6, "at_most": True}, True),
    ],
)
def test_a_target_holds_for_the_ratio_or_else_for_the_median(changes, met):
    assert replace(MET, **changes).met is met


def test_readings_come_back_from_their_file(tmp_path):
    known = {"equal_work": taken(MET, replace(MET, values=(1.0, 2.0), ratio=None, note="why"))}
    readings.save(tmp_path / "deep" / "file.json", known)
    assert readings.load(tmp_path / "deep" / "file.json") == known
    assert json.loads((tmp_path / "deep" / "file.json").read_text())["equal_work"]["commit"] == "abc"
    assert readings.load(tmp_path / "none.json") == {}


def test_sections_show_ratios_and_no_targets():
    text = figures.load("equal_work").describe([MET, replace(MET, problem="missed", target=6.0)])
    assert text.count("5 (4.8 to 5.1)") == 2
    assert "target" not in text
    assert "**missed**" not in text


def test_the_page_says_what_failed_what_is_not_installed_and_what_was_not_run(tmp_path):
    text = page.write(tmp_path, {"equal_work": taken(failed="ValueError: no", quick=True)}).read_text()
    assert "`ValueError: no`" in text
    assert "left out: torch" in text
    assert "none of its figures mean anything" in text
    assert figures.load("time_to_loss").TITLE in text.split("Not measured yet:")[1]


def test_sections_name_the_command_that_repeats_them(tmp_path):
    text = page.write(tmp_path, {"equal_work": taken(failed="ValueError: no")}).read_text()
    command = "scripts/bench --data DATA_FOLDER --only equal_work --turns 3"
    assert f"## {figures.load('equal_work').TITLE}\n\n<!-- figures: {command} -->\n" in text
    assert f"commit abc, 2026-01-01 00:00 UTC, 0 s: `{command}`." in text


def test_every_figure_keeps_the_contract():
    for name in figures.names():
        module = figures.load(name)
        assert module.TITLE
        assert module.__doc__
        assert all(callable(getattr(module, verb)) for verb in ("measure", "describe", "draw"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\N{EN DASH}"), (1234567.0, "1,230,000"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123")],
)
def test_three_digits_are_shown(value, text):
    assert number(value) == text


def test_columns_of_words_are_set_to_the_left():
    assert table(["a", "b", "c"], [["x", "1", "y"]], words=(0, 2)).splitlines() == [
        "| a | b | c |",
        "|---|---:|---|",
        "| x | 1 | y |",
    ]
