"""The examples in the docstrings of the installed package run, module by module."""

import doctest
import importlib
import io
from pathlib import Path

import pytest

import parsgd

PACKAGE = Path(parsgd.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# found by their text: collecting the tests imports none of them
NAMES = sorted(module_of(path) for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name):
    if name.startswith("parsgd.ray") or ".engines.ray." in name:
        pytest.importorskip("ray", reason="needs parsgd[ray]")
    module = importlib.import_module(name)
    runner, printed = doctest.DocTestRunner(optionflags=FLAGS), io.StringIO()
    for examples in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(examples, out=printed.write)
    assert runner.summarize(verbose=False).failed == 0, printed.getvalue()
    assert runner.tries > 0
