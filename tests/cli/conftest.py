"""Ways to run the command in this process and in one of its own, and a small table with a bit of everything."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from parsgd.cli.app import app

FAST = ("--max-iter", "3", "--tol", "none", "--workers", "1")


class Cli:
    """Runs ``parsgd ARGUMENTS`` and checks how it ends; an exception that nobody expected fails the test."""

    def __init__(self, monkeypatch):
        # wide enough that usage errors are not broken into lines in the middle of what a test looks for
        monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 1000)

    def __call__(self, *arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    def fit(self, data, out, *arguments, code=0):
        return self("fit", data, "--out", out, *FAST, *arguments, code=code)

    def report(self, *arguments, code=0):
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def cli(monkeypatch):
    return Cli(monkeypatch)


@pytest.fixture
def started():
    """Starts the command as a process of its own, which does not outlive the test."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            words = [sys.executable, "-m", "parsgd.cli", *map(str, arguments)]
            process = stack.enter_context(subprocess.Popen(words, env=environment, encoding="utf-8", **pipes))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def out(tmp_path):
    return tmp_path / "model.parsgd"


@pytest.fixture
def table():
    """200 rows: numbers, gaps, categories, flags, a date; ``y`` follows from them, ``kind`` says if it is large."""
    rng = np.random.default_rng(0)
    n = 200
    age = rng.normal(40, 10, n).round(1)
    city = rng.choice(["Köln", "Lyon", "Bath"], n)
    member = rng.random(n) < 0.5
    y = 0.3 * age + 5.0 * (city == "Lyon") + 3.0 * member + rng.normal(0, 0.5, n)
    frame = pd.DataFrame({"age": age, "rooms": rng.integers(1, 9, n), "city": city, "member": member})
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="D")
    frame["y"] = y.round(3)
    frame["kind"] = np.where(y > np.median(y), "large", "small")
    frame.loc[::17, "age"] = np.nan
    return frame


@pytest.fixture
def table_csv(table, tmp_path):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    return path
