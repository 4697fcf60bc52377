"""What is imported for an answer that needs no work: neither scikit-learn nor NumPy, and nothing compiled."""

import os
import subprocess
import sys

import pytest

import parsgd

HEAVY = ("numpy", "scipy", "sklearn", "numba", "llvmlite", "pandas", "pyarrow", "dask", "torch")
WATCHED = """
import sys, atexit
atexit.register(lambda: print(*sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr))
import parsgd.cli
sys.argv = ["parsgd", *{arguments!r}]
parsgd.cli.main()
"""


def heavy(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERMINAL_WIDTH": "200"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    return out.stderr.split()


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("fit", "--help"), ("bench", "--help"), ("fit", "iris", "-o", "m", "--print-config")],
    ids=" ".join,
)
def test_questions_are_answered_without_the_library(arguments):
    assert heavy(WATCHED.format(heavy=HEAVY, arguments=list(arguments))) == []


def test_importing_the_package_imports_nothing_heavy():
    assert heavy(f"import sys, parsgd; print(*(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)") == []


def test_every_name_of_the_package_is_there():
    for name in parsgd.__all__:
        assert getattr(parsgd, name) is not None
    assert set(parsgd.__all__) <= set(dir(parsgd))
    with pytest.raises(AttributeError, match="has no attribute 'SGDClasifier'"):
        parsgd.SGDClasifier  # noqa: B018
