"""The examples of docs/progress.md are a program that runs, and its assertions hold."""

import re
import warnings
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "progress.md"


def test_the_examples_run_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "progress"}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for number, code in enumerate(examples):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that stop early
            exec(compile(code, f"{PAGE.name}, example {number}", "exec"), names)
    assert "epoch 20.0 of at most 20" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
