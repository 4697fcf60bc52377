"""``parsgd train-torch``: a module that a file builds."""

import pytest

torch = pytest.importorskip("torch")

NET = """
import torch
from parsgd.torch import Trainer

def optimizer(params):
    return torch.optim.SGD(params, lr=0.1)

def build(*data):
    assert data in ((), ("a", "b"))
    X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    rows = X, (X[:, 0] > 0).long()
    torch.manual_seed(0)
    trainer = Trainer(torch.nn.Linear(4, 2), torch.nn.CrossEntropyLoss(), optimizer=optimizer, engine="serial")
    return trainer, rows, rows

def nothing():
    return 3
"""


@pytest.fixture
def net(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(NET, encoding="utf-8")
    return file


def test_the_parameters_are_saved_and_the_options_replace_those_of_the_trainer(cli, net, tmp_path):
    out = tmp_path / "net.pt"
    settings = ("--epochs", "4", "--workers", "2", "--algorithm", "local", "--data", "a", "--data", "b")
    report = cli.report("train-torch", f"{net}:build", "--out", out, *settings)
    assert report["epochs"] == 4
    assert len(report["validation_losses"]) == 4
    module = torch.nn.Linear(4, 2)
    module.load_state_dict(torch.load(out, weights_only=True))
    assert torch.isfinite(module.weight).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.py", "must name a file and a function"),
        ("other.py:build", "There is no file"),
        ("net.py:make", "has no function 'make'"),
        ("net.py:nothing", "must return a Trainer and the training data"),
    ],
)
def test_what_is_missing_is_named(cli, net, tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    assert words in cli("train-torch", name, "--out", "net.pt", code=2).output
    assert not (tmp_path / "net.pt").exists()
