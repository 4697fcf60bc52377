"""Every script of ``benchmarks/`` and ``studies/`` can be imported: what it imports from parsgd is still there."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "studies"
BENCHMARKS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
]


def peers():
    """Return the modules of the extra ``peers``, which the environment of the tests need not have."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    return {re.match(r"[\w-]+", name)[0].replace("-", "_") for name in extras["peers"]}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_can_be_imported(name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one of them sets it
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in peers():
            raise
        pytest.skip(f"needs {error.name}")


@pytest.fixture
def studies(monkeypatch):
    """The folder as a place to import from; what is imported from it is forgotten afterwards."""
    names = [path.stem for path in sorted(STUDIES.glob("*.py"))]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    monkeypatch.syspath_prepend(STUDIES)
    yield names
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)


def test_studies_can_be_imported(studies):
    assert len(studies) > 5
    for name in studies:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in peers():
                raise
            continue
        assert Path(module.__file__).parent == STUDIES


@pytest.mark.slow
def test_batches_are_measured_and_compared(capsys):
    importlib.import_module("benchmarks.single.batches").main(["--quick"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + 7
    assert all(line.count("|") == 7 for line in lines)


@pytest.mark.slow
def test_calibration_is_measured_with_both_libraries(capsys):
    importlib.import_module("benchmarks.single.calibration").main(["--quick"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| parsgd", "| scikit-learn"))]
    assert len(rows) == 2 * 2 * 7
