"""Run scikit-learn's own test files for SGD and MLP on parsgd's estimators, and write docs/compatibility.md.

Usage: python tests/compatibility/run_suites.py [--check] [--quick] [--only SGD|MLP]

The test files are those of the installed scikit-learn.  They take their estimators from ``sklearn.linear_model`` and
``sklearn.neural_network``; before pytest imports a file, these names are bound to parsgd's classes.  Each failing case
needs a reason in ``known_failures.json``: one without a reason, and a listed one that passes, make the exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sklearn

import parsgd

LISTED = Path(__file__).parent / "known_failures.json"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"


@dataclass(frozen=True)
class Suite:
    """A test file, the classes of ``module`` that parsgd replaces in it, and the cases that take long."""

    name: str
    file: str
    module: str
    classes: tuple[str, ...]
    slow: str


SUITES = (
    Suite(
        "SGD",
        "sklearn.linear_model.tests.test_sgd",
        "sklearn.linear_model",
        ("SGDClassifier", "SGDRegressor", "SGDOneClassSVM"),
        slow="oneclass_vs_linear or gridsearch or loky or multiprocessing or late_onset",
    ),
    Suite(
        "MLP",
        "sklearn.neural_network.tests.test_mlp",
        "sklearn.neural_network",
        ("MLPClassifier", "MLPRegressor"),
        slow="n_iter_no_change or multilabel or test_alpha or lbfgs or multioutput or warm_start",
    ),
)


@dataclass(frozen=True)
class Known:
    """A case that fails, and why; ``may_pass`` where that depends on the machine."""

    suite: str
    test: str
    reason: str
    may_pass: bool


KNOWN = {(known.suite, known.test): known for known in (Known(**entry) for entry in json.loads(LISTED.read_text()))}


@dataclass
class Case:
    """A test case: its name, ``"passed"``, ``"failed"`` or ``"skipped"``, the error, and the estimators it made."""

    name: str
    outcome: str
    error: str = ""
    ours: int = 0
    theirs: int = 0

    @property
    def function(self) -> str:
        """The test's name without its parameters."""
        return self.name.partition("[")[0]


@dataclass(eq=False)
class Recorder:
    """A pytest plugin that records the outcome of each case, and the estimators made while it ran."""

    cases: dict[str, Case] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=lambda: {"ours": 0, "theirs": 0})

    def pytest_runtest_setup(self) -> None:
        self.made.update(ours=0, theirs=0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.split("::", 1)[1]
        if report.when == "call" or report.outcome != "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            error = "" if not report.failed else str(report.longrepr) if crash is None else crash.message
            self.cases[name] = Case(name, report.outcome, error, **self.made)


@contextlib.contextmanager
def substituted(suite: Suite, made: dict[str, int]) -> Iterator[None]:
    """Bind the names of scikit-learn's classes to parsgd's; count the estimators of both that are made."""
    module = importlib.import_module(suite.module)
    theirs = {name: getattr(module, name) for name in suite.classes}
    ours = {name: getattr(parsgd, name) for name in suite.classes}
    constructors = {cls: cls.__init__ for cls in (*theirs.values(), *ours.values())}
    for name in suite.classes:
        theirs[name].__init__ = counted(theirs[name].__init__, made, "theirs")
        ours[name].__init__ = counted(ours[name].__init__, made, "ours")
        setattr(module, name, ours[name])
    try:
        yield
    finally:
        for name, cls in theirs.items():
            setattr(module, name, cls)
        for cls, constructor in constructors.items():
            cls.__init__ = constructor


def counted(constructor: Callable, made: dict[str, int], side: str) -> Callable:
    """The constructor, which counts its calls; with its signature, which scikit-learn reads."""

    @functools.wraps(constructor)
    def construct(self, *args, **settings):
        made[side] += 1
        constructor(self, *args, **settings)

    return construct


def run(suite: Suite, quick: bool = False, show: bool = False) -> list[Case]:
    """Run a suite without its slow cases if ``quick``; return its cases in the order of the file."""
    recorder = Recorder()
    chosen = ["-k", f"not ({suite.slow})"] if quick else []
    # an empty configuration: the warnings that are errors in this project are none in scikit-learn's
    settings = ["-c", os.devnull, "-p", "no:cacheprovider", "-q", "--tb=short"]
    printed = io.StringIO()
    output = contextlib.nullcontext() if show else contextlib.redirect_stdout(printed)
    with contextlib.ExitStack() as stack:
        # pytest also loads the configuration of tests in the working directory
        stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        for context in (substituted(suite, recorder.made), output, warnings.catch_warnings()):
            stack.enter_context(context)
        pytest.main(["--pyargs", suite.file, *settings, *chosen], plugins=[recorder])
    if not recorder.cases:
        raise SystemExit(f"pytest ran no case of {suite.file}: {printed.getvalue()}")
    return list(recorder.cases.values())


def known_of(suite: str, case: Case) -> Known | None:
    """The entry that lists a case: by its name, or by its function, which stands for all cases of it."""
    return KNOWN.get((suite, case.name)) or KNOWN.get((suite, case.function))


def problems(suite: Suite, cases: Sequence[Case]) -> list[str]:
    """Everything that makes the page untrue."""
    found = [] if cases else [f"{suite.name}: no case was run"]
    for case in cases:
        known = known_of(suite.name, case)
        if case.outcome == "failed" and known is None:
            found.append(f"{suite.name}: {case.name} fails, and known_failures.json has no reason: {case.error}")
        elif case.outcome == "passed" and known is not None and not known.may_pass:
            found.append(f"{suite.name}: {case.name} passes; take it out of known_failures.json")
        if case.theirs:
            found.append(f"{suite.name}: {case.name} made {case.theirs} of scikit-learn's own estimators")
    return found


def missing(suite: Suite, cases: Sequence[Case]) -> list[str]:
    """Listed cases that the suite does not have."""
    there = {case.function for case in cases} | {case.name for case in cases}
    return [f"{suite.name}: there is no {name}" for of, name in KNOWN if of == suite.name and name not in there]


def page(results: dict[str, Sequence[Case]]) -> str:
    """docs/compatibility.md."""
    counts = "\n".join(_row(name, cases) for name, cases in results.items())
    reasons = "\n".join(f"| {of} | `{name}` | {known.reason} |" for (of, name), known in KNOWN.items())
    return _PAGE.format(version=sklearn.__version__, counts=counts, reasons=reasons)


def _row(name: str, cases: Sequence[Case]) -> str:
    failing = sum(known_of(name, case) is not None for case in cases)
    passed, without = len(cases) - failing, sum(not case.ours for case in cases)
    return f"| {name} | {len(cases)} | {passed} | {100 * passed / len(cases):.1f} % | {without} |"


_PAGE = """# Compatibility with scikit-learn

<!-- figures: python tests/compatibility/run_suites.py -->

This page shows which of scikit-learn's own tests parsgd passes. `tests/compatibility/run_suites.py` writes it and
runs the test files of the installed scikit-learn {version},
`linear_model/tests/test_sgd.py` and `neural_network/tests/test_mlp.py`, on parsgd's estimators: every
`SGDClassifier`, `SGDRegressor`, `SGDOneClassSVM`, `MLPClassifier` and `MLPRegressor` in them is parsgd's. `n_jobs`,
`algorithm` and `engine` have their defaults, unless a test sets them.

| suite | cases | pass | share | cases that make no estimator |
|---|---|---|---|---|
{counts}

Cases that make no estimator test private functions of scikit-learn. They pass, but do not test parsgd.

## Failing cases

| suite | test | reason |
|---|---|---|
{reasons}

The script fails if a case outside this table fails, or a case in it passes. Run it after an upgrade of scikit-learn:

<!-- not run: takes a minute or two -->
```sh
python tests/compatibility/run_suites.py           # run both suites, write this page
python tests/compatibility/run_suites.py --check   # compare with this page, write nothing
```

The tests run most of the cases (`--check --quick`). Intended differences that these tests do not cover are
[listed with the architecture](architecture.md#differences-from-scikit-learn).
"""


def main() -> int:
    """Run what was asked for; 1 if the page is not true."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is out of date")
    parser.add_argument("--quick", action="store_true", help="leave out slow cases; writes no page")
    parser.add_argument("--only", choices=[suite.name for suite in SUITES], help="one suite; writes no page")
    parser.add_argument("--show", action="store_true", help="show pytest's output")
    asked = parser.parse_args()
    results, wrong = {}, []
    for suite in SUITES:
        if asked.only in (None, suite.name):
            cases = results[suite.name] = run(suite, asked.quick, asked.show)
            wrong += problems(suite, cases) + ([] if asked.quick else missing(suite, cases))
            report(suite, cases)
    if not asked.quick and asked.only is None:
        text = page(results)
        if asked.check and (not PAGE.exists() or PAGE.read_text() != text):
            wrong.append(f"{PAGE.name} is out of date; run this script without --check")
        elif not asked.check:
            PAGE.write_text(text)
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def report(suite: Suite, cases: Sequence[Case]) -> None:
    """Print the counts and each failing case with its reason."""
    failing = [case for case in cases if case.outcome == "failed"]
    passed = sum(case.outcome == "passed" for case in cases)
    share = 100 * passed / max(len(cases), 1)
    print(f"{suite.name}: {passed} of {len(cases)} cases pass ({share:.1f} %), scikit-learn {sklearn.__version__}")
    for case in failing:
        known = known_of(suite.name, case)
        print(f"  {case.name}: {'NO REASON' if known is None else known.reason}")


if __name__ == "__main__":
    sys.exit(main())
