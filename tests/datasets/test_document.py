"""The examples in docs/data.md run as they stand."""

import re
import warnings
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


def test_its_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 3
    names: dict = {}
    with warnings.catch_warnings():
        # few epochs are not convergence
        warnings.simplefilter("ignore")
        for block in blocks:
            exec(compile(block, str(DOCUMENT), "exec"), names)
    said = capsys.readouterr().out
    assert "2,000 rows of 262,146 features in 4 pieces" in said
    assert "holes.csv, row 1,235: column 'hour' is missing" in said
