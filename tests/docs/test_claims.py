"""Measured numbers of the README and the documentation stand below the name of a command that exists."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLI = ROOT / "src" / "parsgd" / "cli"


def load():
    spec = importlib.util.spec_from_file_location("claims", ROOT / "scripts" / "claims.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    sys.modules["claims"] = module
    spec.loader.exec_module(module)
    return module


claims = load()
COMMENTS = {
    path.relative_to(ROOT).as_posix(): re.findall(
        r"^<!-- figures: (.*) -->$", claims.HIDDEN.sub("", path.read_text("utf-8")), re.MULTILINE
    )
    for path in claims.pages()
}
COMMANDS = sorted({figure for figures in COMMENTS.values() for figure in figures if claims.is_command(figure)})


def script_of(command):
    """Return the file that answers a command."""
    program, *arguments = shlex.split(command)
    if program == "python":
        return ROOT / arguments[0]
    if program == "scripts/bench":
        single = arguments and not arguments[0].startswith("-")
        return ROOT / "benchmarks" / (f"single/{arguments[0]}.py" if single else "__main__.py")
    assert program == "parsgd", f"{command}: commands are of python, scripts/bench and parsgd"
    return CLI / "commands" / f"{arguments[0]}.py"


def test_measured_numbers_have_a_command(page):
    if page == claims.PAGE:
        pytest.skip("written by scripts/claims.py")
    without = {found.section: found for found in claims.passages(page.read_text("utf-8")) if not found.figures}
    assert not without, {name: (found.numbers, found.n_cells) for name, found in without.items()}


@pytest.mark.parametrize("name", COMMENTS)
def test_every_comment_holds_for_a_number(name):
    found = claims.passages((ROOT / name).read_text("utf-8"))
    assert set(COMMENTS[name]) == {figure for passage in found for figure in passage.figures}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    script, options = script_of(command), re.findall(r" --([\w-]+)", command)
    assert script.is_file(), f"{command}: there is no {script.relative_to(ROOT)}"
    if script.is_relative_to(CLI):
        source = "".join(path.read_text("utf-8") for path in CLI.rglob("*.py"))
        missing = [option for option in options if not re.search(rf"\b{option.replace('-', '_')}: ", source)]
    else:
        source = script.read_text("utf-8")
        if "from stored_study import" in source:
            # a command line that several studies share
            source += (script.parent / "stored_study.py").read_text("utf-8")
        missing = [option for option in options if f'"--{option}"' not in source]
        assert "ArgumentParser(" in source
        assert 'if __name__ == "__main__":' in source
    assert not missing, f"{command}: {script.name} has no options {missing}"


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({script_of(command) for command in COMMANDS}), ids=lambda path: path.stem)
def test_commands_answer_help(script):
    run = [str(script)] if script.stem != "__main__" else ["-m", "benchmarks"]
    if script.is_relative_to(CLI):
        run = ["-m", "parsgd.cli", script.stem]
    done = subprocess.run([sys.executable, *run, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_list_is_current():
    assert claims.PAGE.read_text("utf-8") == claims.write(), "run scripts/claims.py"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It takes 12 ms.", ["12 ms"]),
        ("It takes 0.6 to 0.7 ms, 3 %, and 1.96 times as many.", ["0.6 to 0.7 ms", "3 %", "1.96 times"]),
        ("At 37,400 rows per\nsecond, 4.4 x, or 26\nMB.", ["37,400 rows per second", "4.4 x", "26 MB"]),
        ("The loss is 0.510 of the other.", ["0.510"]),
        ("200k x 47k, 580 x 54, 5 passes, 10 times per pass, `sync_every=0.5`, 2^18", []),
        ("Python 3.11, scikit-learn 1.9, version 0.1.0, arXiv 1708.04801, [a page](page-1.5.md)", []),
        ("```text\n12 ms\n```\n<!-- needs: 12 ms -->", []),
    ],
)
def test_numbers_with_a_unit_or_a_decimal_point_count(text, numbers):
    assert [number for found in claims.passages(text) for number in found.numbers] == numbers


@pytest.mark.parametrize(
    ("row", "n_cells"),
    [
        ("| 5 ms | yes |", 0),
        ("| a | 5 | **0.3** | - (1.2) |", 3),
        ("| a | at most 5 ms |", 1),
        ("| a | `5` | b 5 |", 0),
    ],
)
def test_cells_that_begin_with_a_number_count(row, n_cells):
    found = claims.passages(f"| 1 | 2 |\n|---|---:|\n{row}")
    assert sum(passage.n_cells for passage in found) == n_cells


PAGE = """# Page

<!-- figures: a -->

1 s

## First

2 s

<!-- figures: b -->

<!-- figures: measured once, 2026-11, no command -->

3 s

### Below

4 s

<!-- figures: none, a size -->

5 MB

## Second

<!-- figures: none, a size -->

6 MB

### Under an exemption

7 s
"""


def test_a_comment_holds_to_the_next_one_and_in_subsections():
    mixed = ("b", "measured once, 2026-11, no command")
    found = [(passage.section, passage.figures, passage.numbers) for passage in claims.passages(PAGE)]
    assert found == [
        ("Page", ("a",), ["1 s"]),
        ("First", ("a",), ["2 s"]),
        ("First", mixed, ["3 s"]),
        ("Below", mixed, ["4 s"]),
        ("Below", ("none, a size",), ["5 MB"]),
        ("Second", ("none, a size",), ["6 MB"]),
        ("Under an exemption", ("a",), ["7 s"]),
    ]


@pytest.mark.parametrize("figure", ["none", "none,", "measured once", "measured once, 2026-20, no command"])
def test_other_words_than_those_of_an_exemption_are_a_command(figure):
    """They then fail as a command that does not exist."""
    assert claims.is_command(figure)
    with pytest.raises(AssertionError, match="commands are of"):
        script_of(figure)
