"""``--config`` and ``--print-config``: a file says what options say, what is typed counts more, mistakes are told."""

import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.cli import config
from parsgd.cli.app import app
from parsgd.model_io import model_files

COMMANDS = sorted(command.callback.__name__.replace("_", "-") for command in app.registered_commands)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_says_what_options_say(cli, table_csv, file, tmp_path):
    path = file(
        f"""
        [fit]
        data = "{table_csv}"
        out = "{tmp_path / "a"}"
        target = "kind"
        drop = ["y", "since"]
        max-iter = 3
        max_categories = 50
        tol = "none"
        alpha = 1e-3
        workers = 1
        standardize = false
        set.l1_ratio = 0.3
        set.class_weight = "balanced"
        [plan]
        workers = [1, 2]
        """
    )
    cli("fit", "--config", path)
    typed = ("--drop", "since", "--max-categories", "50", "--alpha", "0.001", "--no-standardize")
    more = ("--set", "l1_ratio=0.3", "--set", "class_weight=balanced")
    cli.fit(table_csv, tmp_path / "b", "--target", "kind", "--drop", "y", *typed, *more)
    ours, theirs = model_files.load(tmp_path / "a"), model_files.load(tmp_path / "b")
    assert ours.get_params() == theirs.get_params()
    assert np.array_equal(ours.coef_, theirs.coef_)


def test_what_is_typed_counts_more(cli, file, tmp_path):
    path = file('[fit]\ndata = "iris"\nalpha = 0.5\nmax-iter = 7\nstandardize = true\nhidden = [4, 3]')
    said = cli("fit", "--config", path, "digits", "-o", "m", "--alpha", "0.1", "--no-standardize", "--print-config")
    table = tomllib.loads(said.stdout)["fit"]
    assert (table["data"], table["alpha"], table["max-iter"], table["standardize"]) == (["digits"], 0.1, 7, False)
    assert table["hidden"] == "4,3"


def test_the_printed_configuration_makes_the_same_fit_and_prints_itself(cli, table_csv, file, tmp_path):
    learn = ("--target", "kind", "--drop", "y", "--max-iter", "3", "--average", "true", "--seed", "5")
    typed = ("fit", table_csv, *learn, "--set", "l1_ratio=0.3", "--penalty", "elasticnet", "--out")
    printed = cli(*typed, tmp_path / "a", "--print-config").stdout
    assert not (tmp_path / "a").exists()
    assert cli("fit", "--config", file(printed), "--print-config").stdout == printed
    cli(*typed, tmp_path / "b")
    cli("fit", "--config", file(printed))
    ours, theirs = model_files.load(tmp_path / "a"), model_files.load(tmp_path / "b")
    assert np.array_equal(ours.coef_, theirs.coef_)
    assert ours.get_params() == theirs.get_params()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_both(command, cli):
    said = cli(command, "--help").stdout
    assert "--config" in said
    assert "--print-config" in said
    assert "--json" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fit]\nmax-itr = 3", "[fit]: unknown option 'max-itr'. Did you mean 'max-iter'?"),
        ("[fti]\nalpha = 3", "[fti] is not a command. Did you mean 'fit'?"),
        ("alpha = 3", "alpha is outside a table; write [fit] above it"),
        ("[plan]\nalpha = 3", "has no table [fit]; it has [plan]"),
        ("", "has no table [fit]; it has none"),
        ("[fit", "is not valid TOML"),
        ("[fit]\nalpha = 2020-01-01", "[fit] alpha: expected text, a number, true or false"),
        ("[fit]\nresume = 3", "[fit] resume: expected true or false; got 3"),
        ("[fit]\nalpha.x = 3", "[fit] alpha: expected text, a number"),
        ("[fit]\nconfig = 'x'", "[fit]: unknown option 'config'"),
        ("[fit]\nalpha = 'much'", "Invalid value for '--alpha'"),
        ("[fit]\nset = ['l1_ratio']", "--set l1_ratio: write NAME=VALUE"),
    ],
)
def test_mistakes_in_the_file_are_told(text, said, cli, file, tmp_path):
    assert said in cli("fit", "iris", "--out", tmp_path / "m", "--config", file(text), code=2).stderr
    assert not (tmp_path / "m").exists()


def test_a_file_that_cannot_be_read_is_told(cli, tmp_path):
    assert "cannot be read" in cli("fit", "--config", tmp_path / "none.toml", code=2).stderr
    (tmp_path / "latin.toml").write_bytes(b"[fit]\ntarget = '\xe4'")
    assert "is not valid TOML" in cli("fit", "--config", tmp_path / "latin.toml", code=2).stderr


SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


@given(SCALARS | st.lists(SCALARS, min_size=1))
def test_what_is_written_is_read_again(value):
    assert tomllib.loads(f"x = {config._literal(value)}")["x"] == value
