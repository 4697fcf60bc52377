"""What the tests of the documentation have in common: the pages, and two options that `scripts/docs` gives."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the examples that are marked as slow, too")
    parser.addoption("--online", action="store_true", help="ask for every address that a page links to")


def pytest_generate_tests(metafunc):
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def root():
    return ROOT
