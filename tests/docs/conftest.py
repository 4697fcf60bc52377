"""What the tests of the documentation have in common: the pages, and two options that `scripts/docs` gives."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# pages whose examples run in the first tier; tests/examples holds what docs/extending.md shows
FIRST_TIER = ("README.md",)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the examples that are marked as slow, too")
    parser.addoption("--online", action="store_true", help="ask for every address that a page links to")


def pytest_generate_tests(metafunc):
    if "page" in metafunc.fixturenames:
        runs_examples = metafunc.function.__name__ == "test_examples_run"
        pages = {str(page.relative_to(ROOT)): page for page in PAGES}
        metafunc.parametrize(
            "page",
            [
                pytest.param(
                    page, id=name, marks=[pytest.mark.slow] if runs_examples and name not in FIRST_TIER else []
                )
                for name, page in pages.items()
            ],
        )


@pytest.fixture
def root():
    return ROOT
