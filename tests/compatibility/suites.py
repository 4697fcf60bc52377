"""scikit-learn's own test files, run on parsgd's estimators.

The files are those of the installed scikit-learn.  They import their estimators from ``sklearn.linear_model`` and
``sklearn.neural_network``; before pytest imports a file, these names are bound to parsgd's classes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

import parsgd


@dataclass(frozen=True)
class Suite:
    """A test file, and the classes of ``module`` that parsgd replaces in it."""

    name: str
    file: str
    module: str
    classes: tuple[str, ...]


SUITES = (
    Suite(
        "SGD",
        "sklearn.linear_model.tests.test_sgd",
        "sklearn.linear_model",
        ("SGDClassifier", "SGDRegressor", "SGDOneClassSVM"),
    ),
    Suite("MLP", "sklearn.neural_network.tests.test_mlp", "sklearn.neural_network", ("MLPClassifier", "MLPRegressor")),
)


@dataclass
class Case:
    """One test case: its name, ``"passed"``, ``"failed"`` or ``"skipped"``, the error, and what it fitted."""

    name: str
    outcome: str
    error: str = ""
    fits_ours: bool = False
    fits_theirs: bool = False
    seconds: float = 0.0


@contextlib.contextmanager
def substituted(suite: Suite) -> Iterator[None]:
    """Bind the names of scikit-learn's classes to parsgd's."""
    module = importlib.import_module(suite.module)
    originals = {name: getattr(module, name) for name in suite.classes}
    for name in suite.classes:
        setattr(module, name, getattr(parsgd, name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


def run(suite: Suite, arguments: Sequence[str] = ()) -> list[Case]:
    """Run a suite; return its cases in the order of the file."""
    plugin = Recorder()
    # scikit-learn's conftest would otherwise fetch data sets, and pytest would read the settings of this project
    with substituted(suite):
        pytest.main(
            ["--pyargs", suite.file, "-c", os.devnull, "-p", "no:cacheprovider", "-q", "--tb=short", *arguments],
            plugins=[plugin],
        )
    return list(plugin.cases.values())


@dataclass(eq=False)
class Recorder:
    """A pytest plugin that records the outcome of each case."""

    cases: dict[str, Case] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.split("::", 1)[1]
        if report.when == "call" or report.outcome != "passed":
            error = ""
            if report.failed:
                crash = getattr(report.longrepr, "reprcrash", None)
                error = crash.message if crash is not None else str(report.longrepr)
            self.cases[name] = Case(name, report.outcome, error, seconds=report.duration)
