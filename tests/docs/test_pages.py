"""Every example of every page runs, from top to bottom: a page is one program, in a folder of its own.

Blocks of ``python`` share one namespace.  Blocks of ``sh`` run in bash, where ``parsgd`` is this one.  A line
``--8<-- "examples/name.py"`` stands for that file.  A comment on the line above a block says what else is to be known:

=======================  ===========================================================================================
``<!-- not run: why -->``  it needs what a test cannot have: a cluster, an installation
``<!-- slow -->``          it runs in ``scripts/docs`` only (with ``--slow``)
``<!-- needs: torch -->``  it runs where these packages are
``<!-- output -->``        a block of text: what the block before it printed, ``...`` for what varies
``<!-- hidden`` ... ``-->``  python that the page does not show
=======================  ===========================================================================================
"""

import contextlib
import doctest
import importlib.util
import io
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from sklearn.exceptions import ConvergenceWarning

import parsgd

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run: [^\n]+?|slow|needs: [^\n]+?|output) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$|^<!-- hidden\n(?P<hidden>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
SHELLS = ("sh", "bash")
COMMAND = re.compile(r"^(\$ |parsgd |pip |python |scripts/|>>> |import |from \w+ import )", re.MULTILINE)
# Pages whose examples another test runs, in a folder of its own making.
ELSEWHERE = {"command-line.md": "tests/cli/test_examples.py"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Example:
    """A block of code: where it begins, what it is, and what the comment above it says."""

    line: int
    language: str
    code: str
    mark: str

    def why_not(self, slow: bool) -> str:
        """Why it is not to be run here; empty if it is."""
        word, _, rest = self.mark.partition(": ")
        if word == "not run" or word == "slow" and not slow:
            return rest or "slow"
        missing = [name for name in rest.split(", ") if word == "needs" and importlib.util.find_spec(name) is None]
        return f"needs {', '.join(missing)}" if missing else ""


def examples(page: Path, root: Path) -> list[Example]:
    """The blocks of a page, in order."""
    text = page.read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        code, language = match["hidden"] or match["code"], "python" if match["hidden"] else match["language"]
        code = re.sub(r'^--8<-- "(.+?)"$', lambda m: (root / m[1]).read_text("utf-8"), code, flags=re.MULTILINE)
        found.append(Example(text.count("\n", 0, match.start()) + 1, language, code, match["mark"] or ""))
    return found


def test_examples_run(page, root, tmp_path, monkeypatch, request):
    if page.name in ELSEWHERE:
        pytest.skip(f"run by {ELSEWHERE[page.name]}")
    monkeypatch.chdir(tmp_path)
    # as if the page were the program that runs, so that what it defines can be pickled
    program = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    printed, skipped = "", []
    for example in examples(page, root):
        where = f"{page.name}, line {example.line}"
        if example.mark == "output":
            assert printed is None or doctest.OutputChecker().check_output(example.code, printed, FLAGS), (
                f"{where}: the page says\n{example.code}\nbut what was printed is\n{printed}"
            )
        elif example.language not in ("python", *SHELLS):
            assert not COMMAND.search(example.code), f"{where}: this looks like code; call it python or sh"
        elif why := example.why_not(request.config.getoption("--slow", default=False)):
            skipped.append(f"{where}: not run, {why}")
            printed = None
        else:
            python = example.language == "python"
            printed = _python(example.code, where, vars(program)) if python else _shell(example, where)
    print(*skipped, sep="\n")


def _python(code: str, where: str, names: dict) -> str:
    # as many lines before it as on the page, so that a traceback's line is the page's
    code = "\n" * int(where.rpartition(" ")[2]) + code
    with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # examples make few passes
        exec(compile(code, where, "exec"), names)
    return out.getvalue()


def _shell(example: Example, where: str) -> str:
    script = f'set -euo pipefail\nparsgd() {{ "{sys.executable}" -m parsgd.cli "$@"; }}\n{example.code}'
    source = str(Path(parsgd.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": source, "COLUMNS": "120", "NO_COLOR": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, timeout=280)
    assert done.returncode == 0, f"{where}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nx = 1\n```\n", ("python", "")),
        ("<!-- slow -->\n```sh\nparsgd fit\n```\n", ("sh", "slow")),
        ("<!-- not run: needs a cluster -->\n```python\nx = 1\n```\n", ("python", "not run: needs a cluster")),
        ("<!-- hidden\nx = 1\n-->\n", ("python", "")),
    ],
)
def test_comments_above_blocks_are_understood(tmp_path, text, expected):
    page = tmp_path / "page.md"
    page.write_text(f"words\n\n{text}\nwords\n", "utf-8")
    (example,) = examples(page, tmp_path)
    assert (example.language, example.mark) == expected
