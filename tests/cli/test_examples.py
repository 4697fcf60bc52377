"""Every example in a command's help runs as it is written; those of docs/command-line.md are run by tests/docs."""

import importlib.util
import io
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from parsgd.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
NEEDS = {"--onnx": "onnx", "train-torch": "torch"}
NET = """
import numpy as np
import torch

from parsgd.torch import Trainer


def optimizer(params):
    return torch.optim.SGD(params, lr=0.1)


def build(file):
    rows = np.load(file)
    trainer = Trainer(torch.nn.Linear(4, 2), torch.nn.CrossEntropyLoss(), optimizer=optimizer, engine="serial")
    return trainer, (rows["X"], rows["y"]), (rows["X"], rows["y"])
"""
COMMANDS = {command.callback.__name__.replace("_", "-"): command for command in app.registered_commands}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the examples take for granted: tables with a column ``price``."""
    rng = np.random.default_rng(0)
    for name, n in (("table.csv", 90), ("more.csv", 30), ("new.csv", 10)):
        area, city = rng.normal(80, 20, n).round(1), rng.choice(["Bath", "Lyon"], n)
        pd.DataFrame({"area": area, "city": city, "price": (2 * area).round()}).to_csv(tmp_path / name, index=False)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    X = rng.standard_normal((90, 4), dtype=np.float32)
    np.savez(tmp_path / "rows.npz", X=X, y=(X[:, 0] > 0).astype(np.int64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(cli, folder, monkeypatch):
    """Runs a line, of which ``cat FILE |`` may come before and ``| head`` after the command."""

    def run(typed):
        parts = [shlex.split(part) for part in typed.split("|")]
        if parts[0][0] == "cat":
            stdin = SimpleNamespace(buffer=io.BytesIO((folder / parts.pop(0)[1]).read_bytes()))
            monkeypatch.setattr("parsgd.cli.tables.read_data.sys", SimpleNamespace(stdin=stdin))
        assert parts[0][0] == "parsgd"
        if all(importlib.util.find_spec(NEEDS[word]) for word in parts[0] if word in NEEDS):
            cli(*parts[0][1:])

    return run


def examples(command):
    return command.epilog.split("\n\n")[1:]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_run(name, run):
    own = examples(COMMANDS[name])
    assert own
    # models that the examples use come from those of fit
    made = examples(COMMANDS["fit"]) if name != "fit" and any(".parsgd" in typed for typed in own) else []
    for typed in (*made, *own):
        run(typed)


def test_the_examples_are_shown_whole(cli):
    for name, command in COMMANDS.items():
        said = cli(name, "--help").stdout
        for typed in examples(command):
            assert typed in said
            # on a terminal of 80 columns each is one line
            assert len(typed) < 79


def test_every_command_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in COMMANDS)
