"""Links lead somewhere: files are there, headings too, and with ``--online`` every address answers."""

import re
import urllib.error
import urllib.request

import pytest

LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^()\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
# Servers that refuse programs, though the page is there.
REFUSALS = (401, 403, 405, 429)


def targets(page):
    return LINK.findall(re.sub(CODE, "code", page.read_text("utf-8")))


def anchors(page):
    """Names of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere(page):
    for target in targets(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}; {there.name} has {sorted(anchors(there))}"


def test_addresses_answer(page, request):
    if not request.config.getoption("--online", default=False):
        pytest.skip("asks the network: --online")
    dead = []
    for target in sorted({target for target in targets(page) if target.startswith("http")}):
        asked = urllib.request.Request(target, headers={"User-Agent": "parsgd link checker"})
        try:
            with urllib.request.urlopen(asked, timeout=20):
                pass
        except urllib.error.HTTPError as error:
            if error.code not in REFUSALS:
                dead.append(f"{target}: {error.code}")
        except OSError as error:
            dead.append(f"{target}: {error}")
    assert not dead, "\n".join(dead)
