"""List the measured numbers of the README and the documentation, each with the command behind it, in docs/claims.md.

Usage: python scripts/claims.py

A comment on a line of its own names the command. It holds for the text below it, up to the next comment in its section
or the end of the section, subsections included. Comments with no text between them hold together::

    <!-- figures: python studies/peers.py DATA_FOLDER -->
    <!-- figures: measured once, 2026-11, no command -->
    <!-- figures: none, the sizes of an example -->

The second kind is for numbers that no script of this repository measures. The third is for numbers that are no
measurements, and does not hold in subsections.

A number counts as measured if it has a decimal point, if a unit of time, memory or rate, "%", "x" or "times" follows
it, or if it begins a table cell outside the first column. Versions and code, with the output of examples, do not count.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "claims.md"
NONE = re.compile(r"none, \S.*")
ONCE = re.compile(r"measured once, 20\d\d-[01]\d, no command")

COMMENT = re.compile(r"<!-- figures: (.+) -->")
HEADING = re.compile(r"(#+) (.+)")
# code, comments of any other kind, addresses, versions
HIDDEN = re.compile(
    r"^```.*?^```$|<!--(?! figures: ).*?-->|`[^`\n]*`|(?<=\])\([^()\s]*\)"
    r"|\b(?:Python|parsgd|NumPy|SciPy|Numba|scikit-learn|PyTorch|arXiv)\s\d+\.\d+",
    re.DOTALL | re.MULTILINE,
)
NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
UNIT = (
    r"(?:ns|µs|us|ms|s|seconds?|minutes?|hours?|[kMG]B(?:/s)?|[KMG]iB(?:/s)?|GFLOP/s|%"
    r"|(?:rows|examples)(?:/s|\s(?:per|a)\ssecond)|times(?!\s(?:per|a)\b)|x(?!\s\d))"
)
CLAIM = re.compile(
    rf"(?<![\w.^])(?:{NUMBER} ?%? (?:to|and|or|of) )?(?:{NUMBER}\s?{UNIT}(?![\w/])|\d[\d,]*\.\d+(?!\.?\d|[\w/]))"
)
RULE = re.compile(r"\|[-:| ]+\|")
CELL = re.compile(r"[\s*~<>≤≥±+(-]*\d")

HEAD = """# Measured numbers and their commands

This page lists the measured numbers of the README and of the documentation. Each row names the command that measures
the numbers of a section. `python scripts/claims.py` writes this page from comments in the others, such as
`<!-- figures: python studies/peers.py DATA_FOLDER -->`. A test fails if a number has no comment or this page is old.

A number counts as measured if it has a decimal point, or if a unit of time, memory or rate, "%", "x" or "times" follows
it. In tables, numbers at the start of a cell outside the first column count. Numbers in code, versions, and numbers
written as words do not. `DATA_FOLDER` is the folder of the real data.

"""


@dataclass(frozen=True)
class Passage:
    """The text under the same comments in one section of a page."""

    section: str
    figures: tuple[str, ...]
    text: str

    @property
    def numbers(self) -> list[str]:
        """The measured numbers of the prose."""
        prose = "\n".join(line for line in self.text.splitlines() if not line.startswith("|"))
        return [" ".join(found.split()) for found in CLAIM.findall(prose)]

    @property
    def n_cells(self) -> int:
        """The number of table cells with a measured number."""
        lines = self.text.splitlines()
        heads = {head for head, rule in pairwise(range(len(lines))) if RULE.fullmatch(lines[rule])}
        rows = [line for at, line in enumerate(lines) if line.startswith("|") and at not in heads]
        cells = [cell for row in rows for cell in row.strip("|").split("|")[1:]]
        return sum(bool(CELL.match(cell) or CLAIM.search(cell)) for cell in cells)

    @property
    def measured(self) -> bool:
        return bool(self.numbers or self.n_cells)


def pages() -> list[Path]:
    """Return the README and the pages of the documentation, without the one that this script writes."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(set((ROOT / "docs").rglob("*.md")) - {PAGE})]


def passages(text: str) -> list[Passage]:
    """Divide a page at its headings and comments."""
    found: list[Passage] = []
    section, level, in_force, lines, after_comment = "", 0, {0: ()}, [], False

    def close() -> None:
        found.append(Passage(section, in_force[max(in_force)], "\n".join(lines)))
        lines.clear()

    for line in HIDDEN.sub("", text).splitlines():
        if heading := HEADING.fullmatch(line):
            close()
            level, section = len(heading[1]), heading[2]
            kept = {above: figures for above, figures in in_force.items() if above < level and not is_exempt(figures)}
            in_force = {0: (), **kept}
        elif comment := COMMENT.fullmatch(line):
            close()
            in_force[level] = (*(in_force[level] if after_comment else ()), comment[1])
            after_comment = True
            continue
        else:
            lines.append(line)
        after_comment = after_comment and not line.strip()
    close()
    return [passage for passage in found if passage.measured]


def write() -> str:
    """Return the text of docs/claims.md."""
    measured, exempt, n_numbers, n_cells, commands = [], [], 0, 0, set()
    for path in pages():
        text, name = path.read_text("utf-8"), path.relative_to(ROOT).as_posix()
        rows = []
        for passage in passages(text):
            if is_exempt(passage.figures):
                reasons = "; ".join(figure.removeprefix("none, ") for figure in passage.figures)
                exempt.append(f"| {name} | {passage.section} | {reasons} |")
                continue
            numbers = list(dict.fromkeys(passage.numbers))
            rows.append(f"| {passage.section} | {shown(passage)} | {', '.join(numbers)} | {passage.n_cells or ''} |")
            n_numbers, n_cells = n_numbers + len(passage.numbers), n_cells + passage.n_cells
            commands |= {figure for figure in passage.figures if is_command(figure)}
        if rows:
            title = f"[{name}]({name.removeprefix('docs/')})" if name.startswith("docs/") else name
            head = f"## {title}\n\n| section | command | numbers in the text | table cells |\n|---|---|---|---:|\n"
            measured.append(head + "\n".join(rows) + "\n")
    count = f"There are {n_numbers:,} numbers in texts and {n_cells:,} in tables, with {len(commands)} commands.\n"
    last = (
        "## Numbers that are not measurements\n\nThese sections have numbers with units that are sizes, defaults or"
        " parameters.\n\n| page | section | reason |\n|---|---|---|\n" + "\n".join(exempt) + "\n"
    )
    return HEAD + "\n".join([count, *measured, last])


def is_exempt(figures: tuple[str, ...]) -> bool:
    return bool(figures) and all(NONE.fullmatch(figure) for figure in figures)


def is_command(figure: str) -> bool:
    return not NONE.fullmatch(figure) and not ONCE.fullmatch(figure)


def shown(passage: Passage) -> str:
    """Return the commands, and the words of comments without one."""
    return "; ".join(f"`{figure}`" if is_command(figure) else figure for figure in passage.figures)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PAGE.write_text(write(), "utf-8")


if __name__ == "__main__":
    main()
