"""Tables of the documentation are those that the commands beside them stored."""

import re
from pathlib import Path

from benchmarks import stored_tables

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def test_pages_have_the_stored_tables():
    for page in PAGES:
        text = page.read_text("utf-8")
        assert stored_tables.filled(text) == text, f"{page.name}: run python benchmarks/stored_tables.py"


def test_every_stored_table_is_in_a_page():
    named = {name for page in PAGES for name in stored_tables.names(page.read_text("utf-8"))}
    assert named == {path.stem for path in stored_tables.TABLES.glob("*.md")}


def test_a_table_names_its_command(monkeypatch, tmp_path):
    monkeypatch.setattr(stored_tables, "TABLES", tmp_path)
    script = ROOT / "benchmarks" / "second_core.py"
    monkeypatch.setattr(
        "sys.argv", [str(script), "--data", str(tmp_path), "--out", "some/file.json", "--seeds", "5", "--save"]
    )
    stored_tables.show("| a |\n|---|\n| 1.5 |\n", "one", str(script))
    page = "before\n\n<!-- table: one -->\n<!-- end of table -->\nafter\n"
    found = stored_tables.filled(page)
    assert "| 1.5 |\n" in found
    assert re.search(r"commit \S+: `python benchmarks/second_core.py --data DATA_FOLDER --seeds 5`", found)
    assert stored_tables.filled(found) == found
    assert stored_tables.names(found) == ["one"]
