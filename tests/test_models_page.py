"""The examples of docs/models.md are a program that runs, and its assertions hold."""

import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def test_the_examples_run_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)):
        needed = {"onnxruntime": ("to_onnx",), "onnx": ("to_onnx",), "torch": ("torch", "from_state_dict")}
        for package, words in needed.items():
            if any(word in code for word in words):
                pytest.importorskip(package, reason=f"example {number} needs it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that stop early
            exec(compile(code, f"{PAGE.name}, example {number}", "exec"), names)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".onnx", ".onnx", ".parsgd"]
