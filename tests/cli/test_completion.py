"""The shell completes commands, options and their values, and asking it imports nothing that takes time."""

import os
import subprocess
import sys

import pytest

import parsgd
from parsgd.cli import options
from parsgd.errors import InvalidArgumentError

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def asked(what, **variables):
    environment = ENVIRONMENT | {"_PARSGD_COMPLETE": what, **variables}
    command = [sys.executable, "-m", "parsgd.cli"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("parsgd pre", ["predict"]),
        ("parsgd fit --max-i", ["--max-iter"]),
        ("parsgd fit --model mlp", ["mlp-classifier", "mlp-regressor"]),
        ("parsgd fit --algorithm loc", ["local"]),
        ("parsgd fit --engine th", ["threads"]),
        ("parsgd bench --loss squared_h", ["squared_hinge"]),
    ],
)
def test_bash_and_zsh_are_offered_the_same(typed, offered):
    words = typed.split()
    bash = asked("complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert (bash.stdout.split(), bash.stderr) == (offered, "")
    zsh = asked("complete_zsh", _TYPER_COMPLETE_ARGS=typed)
    assert all(f'"{word}"' in zsh.stdout for word in offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_can_be_had(shell):
    assert "_PARSGD_COMPLETE" in asked(f"source_{shell}").stdout


def test_installing_is_offered(cli):
    said = cli("--help").stdout
    assert "--install-completion" in said
    assert "--show-completion" in said


def test_the_losses_that_are_offered_are_those_there_are():
    for loss in options.LOSSES:
        taken = []
        for name in ("SGDClassifier", "SGDRegressor", "MLPRegressor"):
            try:
                getattr(parsgd, name)(loss=loss)._check_parameters()
                taken.append(name)
            except InvalidArgumentError:
                pass
        assert taken, loss
